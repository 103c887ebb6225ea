//! Every reader of outside text here, each as one body for any bytes: for the fuzz targets and for tests (feature `fuzz`).

use crate::{
    ByteSize, ClusterName, ConfigDigest, HostPort, NatsDuration, ServerConfig, ServerName, Sha256Hex,
    ShadowPlan, digest_of_text, render, setting_differences, shadow,
};

/// A name, a body that must neither panic nor hold much more memory than its input, and inputs that it takes.
pub type Target = (&'static str, fn(&[u8]), fn() -> Vec<Vec<u8>>);

/// All of them.
pub const TARGETS: &[Target] = &[
    ("nats_words", words, || {
        let words = [
            "16GB",
            "1TiB",
            "2m",
            "1h30m",
            "10.0.0.1:4222",
            "[::1]:4222",
            "east-1",
            "nats.acme.example:4222",
        ];
        let digest = format!("sha256:{}", "0".repeat(64));
        words.iter().map(|word| word.as_bytes().to_vec()).chain([digest.into_bytes()]).collect()
    }),
    ("server_configuration", configuration, || {
        vec![include_bytes!("../tests/golden/02-supercluster-member.model.json").to_vec()]
    }),
];

/// Sizes, durations, names, addresses, digests.
fn words(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(size) = text.parse::<ByteSize>() {
        assert_eq!(size.to_string().parse::<ByteSize>().ok(), Some(size), "a size says itself");
    }
    if let Ok(duration) = text.parse::<NatsDuration>() {
        assert_eq!(
            duration.to_string().parse::<NatsDuration>().ok(),
            Some(duration),
            "a duration says itself"
        );
    }
    if let Ok(address) = text.parse::<HostPort>() {
        assert_eq!(address.to_string().parse::<HostPort>().ok(), Some(address), "an address says itself");
    }
    let _ = text.parse::<ServerName>();
    let _ = text.parse::<ClusterName>();
    let _ = text.parse::<Sha256Hex>();
    let _ = text.parse::<ConfigDigest>();
}

/// The model as a document holds it, and the text as it may lie on a disk.
fn configuration(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = digest_of_text(text);
    let read = serde_json::from_str::<serde_json::Value>(text).ok();
    if let Ok(config) = serde_json::from_str::<ServerConfig>(text) {
        let rendered = render(&config);
        if config.validate().is_ok() {
            assert_eq!(
                digest_of_text(&rendered.text).ok(),
                Some(rendered.digest),
                "a digest is that of its text"
            );
            let _ = shadow(&config, &ShadowPlan { directory: "/tmp/trial".to_owned() });
        }
        if let (Ok(ours), Some(found)) = (serde_json::from_str(&rendered.text), &read) {
            let _ = setting_differences(&ours, found);
        }
    }
}
