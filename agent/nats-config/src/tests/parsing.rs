//! Parsers of sizes, times, names, addresses and digests.

use proptest::prelude::*;

use crate::{
    ByteSize, ConfigDigest, HostPort, NatsDuration, ServerName, Sha256Hex, arbitrary, digest_of_text,
};

fn size(text: &str) -> Result<u64, String> {
    text.parse::<ByteSize>().map(ByteSize::bytes).map_err(|error| error.to_string())
}

fn time(text: &str) -> Result<String, String> {
    text.parse::<NatsDuration>().map(|time| time.to_string()).map_err(|error| error.to_string())
}

fn address(text: &str) -> Result<String, String> {
    text.parse::<HostPort>().map(|address| address.to_string()).map_err(|error| error.to_string())
}

#[test]
fn sizes_are_binary_whatever_the_unit() {
    let cases: &[(&str, u64)] = &[
        ("0", 0),
        ("1024", 1024),
        ("1024B", 1024),
        ("1k", 1024),
        ("512MiB", 512 << 20),
        ("16GB", 16 << 30),
        ("200G", 200 << 30),
        ("200gi", 200 << 30),
        ("2T", 2 << 40),
        ("7EiB", 7 << 60),
        ("9223372036854775807", i64::MAX as u64),
    ];
    for (text, bytes) in cases {
        assert_eq!(size(text), Ok(*bytes), "{text}");
    }
}

#[test]
fn what_is_no_size_says_what_is_allowed() {
    let units = "K, KB, Ki, KiB and likewise with M, G, T, P, E";
    let number =
        |text: &str| format!("`{text}` is no size; allowed is a whole number and optionally one of {units}");
    for text in ["", "GB", "-1", "+1", "1.5GB", "1 GB", " 1", "1_000"] {
        assert_eq!(size(text), Err(number(text)), "{text}");
    }
    let unit = |text: &str, unit: &str| {
        format!("`{text}` has the unit `{unit}`; allowed are {units}, all of them binary")
    };
    assert_eq!(size("1GBs"), Err(unit("1GBs", "GBs")));
    assert_eq!(size("1X"), Err(unit("1X", "X")));
    assert_eq!(size("1GiBB"), Err(unit("1GiBB", "GiBB")));
    let large = "is more than 9223372036854775807 bytes, the most that nats-server can count";
    for text in ["9223372036854775808", "8EiB", "99999999999999999999999", "16777216T"] {
        assert_eq!(size(text), Err(format!("`{text}` {large}")), "{text}");
    }
}

#[test]
fn sizes_are_shown_in_the_largest_unit_that_divides_them() {
    for (bytes, text) in [
        (0, "0"),
        (1000, "1000"),
        (1024, "1KiB"),
        (1536 << 20, "1536MiB"),
        (16 << 30, "16GiB"),
        (1 << 60, "1EiB"),
    ] {
        assert_eq!(ByteSize::from_bytes(bytes).unwrap().to_string(), text);
    }
    assert_eq!(serde_json::to_string(&ByteSize::from_bytes(16 << 30).unwrap()).unwrap(), "17179869184");
    let error = serde_json::from_str::<ByteSize>("9223372036854775808").unwrap_err().to_string();
    assert!(error.contains("is more than 9223372036854775807 bytes"), "{error}");
}

#[test]
fn times_are_read_like_go_reads_them() {
    for (text, shown) in [
        ("0", "0s"),
        ("0s", "0s"),
        ("2m", "2m"),
        ("120s", "2m"),
        ("1h30m", "1h30m"),
        ("1.5h", "1h30m"),
        ("250ms", "250ms"),
        ("1.9s", "1s900ms"),
        (".5s", "500ms"),
        ("1.s", "1s"),
        ("3\u{b5}s", "3us"),
        ("1ns1h", "1h1ns"),
        ("0.0000000019s", "1ns"),
        ("2562047h", "2562047h"),
    ] {
        assert_eq!(time(text), Ok(shown.to_owned()), "{text}");
    }
}

#[test]
fn what_is_no_time_says_what_is_allowed() {
    let form = |text: &str| {
        format!(
            "`{text}` is no length of time; allowed are numbers each with a unit of h, m, s, ms, us, ns, as in `1h30m`"
        )
    };
    for text in ["", "s", ".s", "1h.m"] {
        assert_eq!(time(text), Err(form(text)), "{text}");
    }
    for (text, unit) in [("20", ""), ("2d", "d"), ("1h 30m", "h "), ("1e1s", "e"), ("5S", "S")] {
        let error = format!("`{text}` has the unit `{unit}`; allowed are h, m, s, ms, us, ns");
        assert_eq!(time(text), Err(error), "{text}");
    }
    assert_eq!(time("-1s"), Err("`-1s` is negative; allowed is zero or more".to_owned()));
    for text in ["2562048h", "99999999999999999999h", "2562047h48m"] {
        assert_eq!(time(text), Err(format!("`{text}` is too long; allowed are up to 2562047h")), "{text}");
    }
}

#[test]
fn addresses_keep_ipv6_in_brackets_and_names_in_lower_case() {
    for (text, shown) in [
        ("10.20.0.11:5222", "10.20.0.11:5222"),
        ("[fd00::1]:5222", "[fd00::1]:5222"),
        ("[FD00:0:0::1]:5222", "[fd00::1]:5222"),
        ("East-1.acme.example:1", "east-1.acme.example:1"),
        ("localhost:65535", "localhost:65535"),
    ] {
        assert_eq!(address(text), Ok(shown.to_owned()), "{text}");
    }
    let no_port = "`10.0.0.1` has no port; allowed is `host:port`, with IPv6 addresses in brackets";
    assert_eq!(address("10.0.0.1"), Err(no_port.to_owned()));
    for port in ["0", "65536", "-1", "+1", "", "1a"] {
        let text = format!("a:{port}");
        let error = format!("`{text}` has the port `{port}`; allowed are 1 to 65535");
        assert_eq!(address(&text), Err(error));
    }
    let long = "a".repeat(64);
    for host in
        ["", "fd00::1", "1.2.3", "256.1.1.1", "a b", "-a", "a-", "a..b", "[10.0.0.1]", "[fd00::1", &long]
    {
        let text = format!("{host}:1");
        let error = format!(
            "`{text}` has the host `{host}`; allowed are an IPv4 address, an IPv6 address in brackets or a DNS name"
        );
        assert_eq!(address(&text), Err(error));
    }
}

#[test]
fn names_refuse_what_the_server_would_choke_on() {
    let name = |text: &str| text.parse::<ServerName>().map_err(|error| error.to_string());
    assert_eq!(name("east-1.acme_2").unwrap().as_str(), "east-1.acme_2");
    assert_eq!(name(""), Err("the name is empty; allowed are 1 to 64 characters".to_owned()));
    let long = "a".repeat(65);
    assert_eq!(name(&long), Err("the name has 65 characters; allowed are 1 to 64".to_owned()));
    assert_eq!(
        name("a b"),
        Err("the name `a b` holds ' '; allowed are letters and digits of ASCII, `-`, `_` and `.`".to_owned())
    );
    assert_eq!(
        name("-a"),
        Err("the name `-a` starts with '-'; allowed first are letters and digits of ASCII".to_owned())
    );
}

#[test]
fn digests_name_their_algorithm() {
    let hex = "AB".repeat(32);
    let digest: ConfigDigest = format!("sha256:{hex}").parse().unwrap();
    assert_eq!(digest.to_string(), format!("sha256:{}", hex.to_lowercase()));
    assert_eq!(
        hex.parse::<ConfigDigest>().unwrap_err().to_string(),
        format!("`{hex}` is no configuration digest; allowed is `sha256:` and 64 hexadecimal digits")
    );
    assert_eq!(
        "12".parse::<Sha256Hex>().unwrap_err().to_string(),
        "`12` is no SHA-256 sum; allowed are exactly 64 hexadecimal digits"
    );
}

/// The digests on the right were printed by `nats-server -t` 2.15.1 for the texts on the left.
#[test]
fn digests_are_those_that_the_server_shows() {
    let cases = [
        (
            r#"{"server_name":"a","server_metadata":{"a.b":"$HOME", "k k":"1e3"}}"#,
            "b0e4083f82c733cfda15b36bc33a4189e5eca81fd50f8d7be94042d828ba49d9",
        ),
        (
            r#"{"server_name":"a","server_metadata":{"include":"x"}}"#,
            "1a472d24f5be54fd3a6187009dd1d549114a8c6f0f114e702a16cb57d6be42f2",
        ),
        (
            r##"{"server_name":"a","server_metadata":{"#b":"#x//y", "//a":"/* */", "":"empty", "a:b":"=", "a b":"{"}}"##,
            "31d965752db1352661fb62bdb3ebdca7ee8128a55d6fe863e3abc0e30974d667",
        ),
        (
            r#"{"server_name":"a","server_metadata":{}, "tls":{"timeout":2.50}}"#,
            "e34526ac39f4f06486a5f6c96cc38d1e93436f20c8149c64861f4117e5a180b5",
        ),
        (
            "{\"server_name\":\"a\",\"server_metadata\":{\"\u{e9}\":\"\u{2028} \u{7f} \u{1f600}\"}}",
            "c163af24a79c90949106291f32dec7685472375e006f987bfaabe0e450196397",
        ),
        (
            r#"{"server_name":"a","server_tags":[], "cluster":{}}"#,
            "3e32c552efc1dcd731e75b94492ce5454976adeb5bb8f2632377fd20cdb0dbe4",
        ),
        (
            r#"{"server_name":"a","server_name":"b"}"#,
            "e135ebb9b6a4f1565aa21b45b27eee6d9a1dd9f66e57928e5b209a5014d49b47",
        ),
        (
            r#"{"server_name":"a","max_connections":-1}"#,
            "6ae4f03f65cc3798de9a2254a76a7744f56c75f9ab9b66130a22d20c4d6adea7",
        ),
    ];
    for (text, sum) in cases {
        assert_eq!(digest_of_text(text).unwrap().to_string(), format!("sha256:{sum}"), "{text}");
    }
}

#[test]
fn a_text_without_digest_says_why() {
    let error = |text: &str| digest_of_text(text).unwrap_err().to_string();
    assert_eq!(error("server_name: a"), "the configuration is not JSON");
    assert_eq!(error("[]"), "the configuration is an array instead of a JSON object");
    assert_eq!(
        error(r#"{"a":{"b":[1,18446744073709551615]}}"#),
        "`a.b[1]` is `18446744073709551615`, which is no signed 64-bit integer nor a plain decimal number"
    );
    // The server reads the backslash of a key as a character of its own, tried with `-t`.
    for key in ["a\\b", "a\"b", "a\nb"] {
        let text = serde_json::json!({ "server_metadata": { key: 1 } }).to_string();
        assert_eq!(
            error(&text),
            format!(
                "the key {key:?} in `server_metadata` holds a character that nats-server reads differently in keys"
            )
        );
    }
}

proptest! {
    #[test]
    fn no_text_makes_a_parser_panic(text in "\\PC{0,40}") {
        let _ = (size(&text), time(&text), address(&text), text.parse::<ServerName>());
        let _ = (text.parse::<ConfigDigest>(), text.parse::<Sha256Hex>(), digest_of_text(&text));
    }

    #[test]
    fn no_almost_right_text_makes_a_parser_panic(text in "[0-9.]{0,22}([kKmMgGtTpPeEiBhsun\u{b5}]{0,3}[0-9.:\\[\\]-]{0,4}){0,3}") {
        let _ = (size(&text), time(&text), address(&text));
    }

    #[test]
    fn sizes_read_back(bytes in 0..=i64::MAX as u64) {
        let size = ByteSize::from_bytes(bytes).unwrap();
        prop_assert_eq!(size.to_string().parse::<ByteSize>().unwrap(), size);
        prop_assert_eq!(serde_json::from_value::<ByteSize>(serde_json::to_value(size).unwrap()).unwrap(), size);
    }

    #[test]
    fn times_read_back(nanoseconds in 0..=i64::MAX as u64) {
        let time = NatsDuration::try_from(std::time::Duration::from_nanos(nanoseconds)).unwrap();
        prop_assert_eq!(time.to_string().parse::<NatsDuration>().unwrap(), time);
        prop_assert_eq!(u64::try_from(time.as_duration().as_nanos()).unwrap(), nanoseconds);
    }

    #[test]
    fn addresses_read_back(address in arbitrary::host_port()) {
        prop_assert_eq!(address.to_string().parse::<HostPort>().unwrap(), address);
    }
}
