//! A scripted JetStream: streams in memory, with what a server adds, and every way of misbehaving that tests need.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use nats_agent_api::fake::Answers;
use serde_json::{Map, Value, json};

/// What it does besides behaving.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fault {
    #[default]
    None,
    /// Nobody answers at all.
    Silent,
    /// The listing leaves every stream out, as when their leaders do not answer, and asking for one is not answered.
    Leaderless,
    /// As [`Fault::Leaderless`], but asking for one by name is answered.
    Unlisted,
    /// Makes other streams than asked for.
    Alters,
    /// Refuses creates, as servers without room do.
    Full,
    /// Refuses creates, as where another stream has the subjects.
    Overlap,
    /// Makes streams and does not answer.
    Forgets,
    /// Says of the first three requests that the account has no JetStream, as one that has only just heard of it.
    Enabling,
}

#[derive(Clone, Default)]
pub(crate) struct JetStream {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    fault: Fault,
    messages: u64,
    streams: BTreeMap<String, Map<String, Value>>,
    asked: Vec<String>,
}

impl JetStream {
    pub(crate) fn put(&self, config: Value) {
        let config = config.as_object().unwrap().clone();
        let name = config["name"].as_str().unwrap().to_owned();
        self.inner.lock().unwrap().streams.insert(name, config);
    }

    pub(crate) fn stream(&self, name: &str) -> Option<Map<String, Value>> {
        self.inner.lock().unwrap().streams.get(name).cloned()
    }

    pub(crate) fn remove(&self, name: &str) {
        self.inner.lock().unwrap().streams.remove(name);
    }

    pub(crate) fn set(&self, fault: Fault) {
        self.inner.lock().unwrap().fault = fault;
    }

    pub(crate) fn fill(&self, messages: u64) {
        self.inner.lock().unwrap().messages = messages;
    }

    /// Verbs that were asked for, like `CREATE`.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.inner.lock().unwrap().asked.clone()
    }

    pub(crate) fn answers(&self) -> Answers {
        let inner = self.inner.clone();
        Arc::new(move |subject, payload| {
            let answer = inner.lock().unwrap().answer(subject, payload);
            if answer.is_none() && inner.lock().unwrap().fault == Fault::Forgets {
                // Longer than anybody waits here, so that no answer comes and none is told to come.
                std::thread::sleep(std::time::Duration::from_secs(4));
            }
            answer.map(|answer| answer.to_string().into_bytes()).into_iter().collect()
        })
    }
}

impl Inner {
    fn answer(&mut self, subject: &str, payload: &[u8]) -> Option<Value> {
        let rest = subject.strip_prefix("$JS.API.STREAM.")?;
        let (verb, name) = rest.split_once('.').unwrap_or((rest, ""));
        self.asked.push(verb.to_owned());
        if self.fault == Fault::Enabling && self.asked.len() <= 3 {
            return Some(json!({"error": {
                "code": 503, "err_code": 10039, "description": "JetStream not enabled for account"}}));
        }
        let hidden = matches!(self.fault, Fault::Leaderless | Fault::Unlisted);
        match (self.fault, verb) {
            (Fault::Silent, _) | (Fault::Leaderless, "INFO") => return None,
            _ => {}
        }
        let missing = json!({"error": {"code": 404, "err_code": 10059, "description": "stream not found"}});
        Some(match verb {
            "LIST" if hidden => {
                let names: Vec<&String> = self.streams.keys().collect();
                json!({"total": self.streams.len(), "streams": [], "missing": names})
            }
            "LIST" => {
                let streams: Vec<Value> = self.streams.keys().map(|name| self.info(name)).collect();
                json!({"total": streams.len(), "streams": streams})
            }
            "INFO" if self.streams.contains_key(name) => self.info(name),
            "CREATE" if self.fault == Fault::Full => json!({"error": {
                "code": 503, "err_code": 10047, "description": "insufficient storage resources available"}}),
            "CREATE" if self.fault == Fault::Overlap => json!({"error": {
                "code": 400, "err_code": 10065, "description": "subjects overlap with an existing stream"}}),
            "CREATE" | "UPDATE" => {
                let mut config: Map<String, Value> = serde_json::from_slice(payload).unwrap();
                config["metadata"]["_nats.ver"] = "2.15.1".into();
                if self.fault == Fault::Alters {
                    config.insert("max_msgs".to_owned(), 7.into());
                }
                self.streams.insert(name.to_owned(), config);
                if self.fault == Fault::Forgets {
                    return None;
                }
                self.info(name)
            }
            "DELETE" if self.streams.remove(name).is_some() => json!({"success": true}),
            _ => missing,
        })
    }

    fn info(&self, name: &str) -> Value {
        json!({"config": self.streams[name], "state": {"messages": self.messages, "bytes": self.messages * 10}})
    }
}
