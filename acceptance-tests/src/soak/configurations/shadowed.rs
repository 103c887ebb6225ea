//! What of an original is left in its trial: looked for in the model's own JSON and in the trial's text, not through
//! the code that takes it away.

use nats_config::{ServerConfig, ShadowPlan, shadow};
use serde_json::Value;

/// A trial's own directory.
const DIRECTORY: &str = "/run/trial";

/// Everything by which the original could be reached or mistaken for.
#[derive(Debug, Default)]
struct Traces {
    addresses: Vec<String>,
    names: Vec<String>,
    places: Vec<String>,
}

impl Traces {
    fn of(config: &ServerConfig) -> Traces {
        let model = serde_json::to_value(config).unwrap_or_default();
        let mut traces = Traces::default();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        for listener in ["client", "monitor", "cluster", "gateway"].map(|name| &model[name]) {
            if let (Some(address), Some(port)) = (listener["address"].as_str(), listener["port"].as_u64()) {
                let is_ipv6 = address.contains(':');
                traces.addresses.push(if is_ipv6 {
                    format!("[{address}]:{port}")
                } else {
                    format!("{address}:{port}")
                });
            }
            traces.addresses.extend(text(&listener["advertise"]));
            traces.addresses.extend(listener["routes"].as_array().into_iter().flatten().filter_map(text));
        }
        for (name, addresses) in model["gateway"]["remotes"].as_object().into_iter().flatten() {
            traces.names.push(name.clone());
            traces.addresses.extend(addresses.as_array().into_iter().flatten().filter_map(text));
        }
        traces.names.extend(text(&model["server_name"]));
        traces.names.extend(text(&model["cluster"]["name"]));
        let places = ["/jetstream/store_dir", "/trust/resolver/dir", "/logging/log_file", "/pid_file"];
        traces.places.extend(places.iter().filter_map(|place| model.pointer(place).and_then(text)));
        traces
    }
}

/// Every trace of `config` that its trial still holds, or why there is no trial; empty when all are gone.
pub(super) fn left(config: &ServerConfig) -> Vec<String> {
    let rendered = shadow(config, &ShadowPlan { directory: DIRECTORY.to_owned() });
    let Ok(trial) = serde_json::from_str::<Value>(&rendered.text) else {
        return vec!["the trial is no JSON".to_owned()];
    };
    let traces = Traces::of(config);
    let mut left = Vec::new();
    for address in traces.addresses.iter().filter(|address| rendered.text.contains(address.as_str())) {
        left.push(format!("address {address} in the text"));
    }
    let mut found = Vec::new();
    texts("", &trial, &mut found);
    for (path, text) in found {
        // What the files of certificates are called is no directory of the original's data.
        let is_certificate = ["cert_file", "key_file", "ca_file"].iter().any(|key| path.ends_with(key));
        if traces.names.contains(&text) && !is_certificate {
            left.push(format!("name {text} at {path}"));
        }
        if traces
            .places
            .iter()
            .any(|place| text == *place || (place.starts_with('/') && text.contains(place)))
        {
            left.push(format!("directory {text} at {path}"));
        }
        left.extend(leads_outside(&path, &text));
    }
    left
}

/// A setting by which the trial listens or dials anywhere but on loopback, or writes outside its directory.
fn leads_outside(path: &str, text: &str) -> Option<String> {
    let name = path.rsplit('.').next().unwrap_or(path);
    let is_inside = match name {
        "listen" | "http" => text == "127.0.0.1:-1",
        "routes" | "urls" | "url" => text.contains("://127.0.0.1:"),
        "store_dir" | "dir" | "ports_file_dir" => text.starts_with(DIRECTORY),
        "advertise" | "client_advertise" | "log_file" | "pid_file" => false,
        _ => true,
    };
    (!is_inside).then(|| format!("{path} leads to {text}"))
}

/// Every text in `value` with the path of the setting that holds it.
fn texts(path: &str, value: &Value, into: &mut Vec<(String, String)>) {
    match value {
        Value::String(text) => into.push((path.to_owned(), text.clone())),
        Value::Array(items) => items.iter().for_each(|item| texts(path, item, into)),
        Value::Object(map) => {
            map.iter().for_each(|(key, item)| texts(&format!("{path}.{key}"), item, into));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::strategy::Strategy;

    /// The search must find what is left, or it proves nothing.
    #[test]
    fn an_original_is_full_of_what_is_looked_for() {
        let mut chance = crate::soak::chance::Chance::of(1, 1);
        let strategy =
            super::super::lone::configuration().prop_filter("it dials", |config| config.cluster.is_some());
        let config = chance.draw(&strategy).unwrap();
        let traces = Traces::of(&config);
        let text = nats_config::render(&config).text;
        assert!(traces.addresses.iter().all(|address| text.contains(address.as_str())), "{traces:?} {text}");
        assert!(traces.addresses.len() > 1 && traces.names.len() > 1);
        assert!(leads_outside(".cluster.listen", "10.0.0.1:5222").is_some());
        assert!(leads_outside(".cluster.routes", "nats-route://10.0.0.1:5222").is_some());
        assert!(leads_outside(".jetstream.store_dir", "/data").is_some());
    }
}
