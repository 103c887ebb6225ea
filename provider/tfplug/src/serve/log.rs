//! Logs as Terraform reads them: one JSON object a line on stderr, and panics among them.
//!
//! Source: go-plugin v1.6.0 log_entry.go: `@level` and `@message` must be strings, or Terraform itself
//! panics; a line may have 64 KiB.

use std::fmt;
use std::io::{self, Write};
use std::panic;

use serde_json::{Map, Value as Json};
use time::OffsetDateTime;
use time::macros::format_description;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

/// Longest text of one field; the rest is cut, so that a line stays below Terraform's buffer.
const MAX_TEXT: usize = 8 * 1024;

/// Crates below us whose chatter helps nobody who debugs a provider.
const QUIET: [&str; 7] = ["h2", "hyper", "hyper_util", "rustls", "tokio_rustls", "tonic", "tower"];

/// Sends logs of `level` and above, and the place of every panic, to stderr. A subscriber the program has
/// installed already stays.
pub(super) fn install(level: LevelFilter) {
    if level != LevelFilter::OFF {
        let subscriber = tracing_subscriber::registry().with(HclogLayer { level });
        // Fails only when the program has its own subscriber.
        let _ = tracing::subscriber::set_global_default(subscriber);
    }
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        // Only fixed texts: a formatted one may hold a secret.
        let text = panic.payload().downcast_ref::<&'static str>().copied().unwrap_or_default();
        tracing::error!(place, text, "the provider panicked");
    }));
}

struct HclogLayer {
    level: LevelFilter,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for HclogLayer {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        let root = metadata.target().split("::").next().unwrap_or_default();
        let most = if QUIET.contains(&root) { self.level.min(LevelFilter::WARN) } else { self.level };
        *metadata.level() <= most
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level)
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let line = line(event, OffsetDateTime::now_utc());
        // A closed stderr leaves nobody to tell.
        let _ = writeln!(io::stderr().lock(), "{line}");
    }
}

fn line(event: &Event<'_>, now: OffsetDateTime) -> String {
    let mut fields = Fields { message: String::new(), rest: Map::new() };
    event.record(&mut fields);
    let Fields { message, rest } = fields;
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");
    let mut all = Map::new();
    all.insert("@level".into(), level_word(event.metadata().level()).into());
    all.insert("@message".into(), message.into());
    all.insert("@module".into(), event.metadata().target().into());
    all.insert("@timestamp".into(), now.format(format).unwrap_or_default().into());
    all.extend(rest);
    Json::Object(all).to_string()
}

fn level_word(level: &Level) -> &'static str {
    match *level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

struct Fields {
    message: String,
    rest: Map<String, Json>,
}

impl Fields {
    fn put(&mut self, field: &Field, text: &str) {
        let text: String = text.chars().take(MAX_TEXT).collect();
        match field.name() {
            "message" => self.message = text,
            name => {
                self.rest.insert(name.to_owned(), text.into());
            }
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    struct Keep(Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> Layer<S> for Keep {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            self.0.lock().unwrap().push(line(event, OffsetDateTime::UNIX_EPOCH));
        }
    }

    #[test]
    fn every_field_is_a_string() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let subscriber = tracing_subscriber::registry().with(Keep(lines.clone()));
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(count = 3, host = "east-1", "slow");
            tracing::info!("{}", "x".repeat(MAX_TEXT * 2));
        });
        let lines = lines.lock().unwrap();
        let first: Json = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(first["@level"], "warn");
        assert_eq!(first["@message"], "slow");
        assert_eq!(first["@timestamp"], "1970-01-01T00:00:00.000000Z");
        assert_eq!(first["count"], "3");
        assert_eq!(first["host"], "east-1");
        assert!(lines[1].len() < 64 * 1024);
    }
}
