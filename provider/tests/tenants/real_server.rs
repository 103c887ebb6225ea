//! `nats_stream` on a real nats-server: what is created, imported and edited reads back equal, so that plans are empty.

use std::sync::Arc;
use std::time::{Duration, Instant};

use acceptance_tests::rig::loopback::{Block, Folder};
use acceptance_tests::rig::process::Process;
use nats_agent_api::fake::Answers;
use serde_json::json;
use tfplug::Value;
use tfplug::testing::{Action, Harness, Instance};

use crate::rig::{Rig, block, tells, unprotected};

/// A nats-server with JetStream, and a system of scripted agents that hand every request to it.
struct Real {
    rig: Rig,
    client: async_nats::Client,
    _process: Process,
    _folder: Folder,
    _addresses: Block,
}

impl Real {
    async fn start() -> Real {
        let binary = acceptance_tests::tools::nats_server().unwrap();
        let (folder, addresses) = (Folder::new("streams").unwrap(), Block::claim(1).unwrap());
        let address = addresses.address(1).to_string();
        let mut command = std::process::Command::new(binary);
        command.args(["-a", &address, "-p", "4222", "-js", "-sd"]).arg(folder.path());
        let process = Process::start("nats-server", &mut command, &folder.path().join("log")).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        let client = loop {
            match async_nats::connect(format!("nats://{address}:4222")).await {
                Ok(client) => break client,
                Err(error) => assert!(Instant::now() < deadline, "{error}: {}", process.log()),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let rig = Rig::new().await;
        rig.answer(forward(client.clone()));
        Real { rig, client, _process: process, _folder: folder, _addresses: addresses }
    }

    async fn publish(&self, subject: &'static str, count: usize) {
        for _ in 0..count {
            self.client.request(subject, "x".into()).await.unwrap();
        }
    }
}

fn forward(client: async_nats::Client) -> Answers {
    let runtime = tokio::runtime::Handle::current();
    Arc::new(move |subject, payload| {
        let asking = client.request(subject.to_owned(), payload.to_vec().into());
        runtime.block_on(asking).map(|reply| reply.payload.to_vec()).into_iter().collect()
    })
}

async fn plans_nothing(process: &Harness, made: &Instance, declared: &Value) {
    let plan = process.plan("nats_stream", Some(made), declared.clone()).await.unwrap();
    assert_eq!(plan.action, Action::NoOp, "{:#?}\nis planned to become\n{:#?}", made.state, plan.planned);
}

/// Every setting in some way, one stream a line.
fn spread() -> Vec<serde_json::Value> {
    vec![
        json!({}),
        json!({"storage": "memory"}),
        json!({"compression": "s2", "description": "of the shop"}),
        json!({"max_age": "30s"}),
        json!({"max_age": "100ms"}),
        json!({"max_age": "24h", "duplicate_window": "120s"}),
        json!({"max_age": "36h", "duplicate_window": "1h30m"}),
        json!({"retention": "interest", "discard": "new", "max_messages": 10}),
        json!({"retention": "workqueue", "max_consumers": 3}),
        json!({"max_bytes": "1024KB", "max_message_size": "1KB", "max_messages_per_subject": 5}),
        json!({"allow_direct": true, "allow_rollup": true, "allow_message_ttl": true}),
        json!({"deny_delete": true, "deny_purge": true}),
        json!({"metadata": {"team": "shop", "empty": ""}}),
        json!({"replicas": 1, "discard": "new", "max_bytes": "64MB", "storage": "memory", "max_age": "1m"}),
    ]
}

fn numbered(number: usize, settings: serde_json::Value) -> Value {
    let name = format!("S{number}");
    let subjects = [format!("{}.*", name.to_lowercase()), format!("{}.a.>", name.to_lowercase())];
    let mut stream = json!({"account": "acme/orders", "name": name, "subjects": subjects});
    stream.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    let metadata = stream.as_object_mut().unwrap().remove("metadata");
    let stream = unprotected(block(stream));
    match metadata {
        None => stream,
        Some(entries) => {
            let entries = entries.as_object().unwrap().clone().into_iter();
            stream.with("metadata", Value::map(entries.map(|(key, value)| (key, block(value)))))
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_made_reads_back_and_imports_equal() {
    let real = Real::start().await;
    let process = real.rig.process().await;
    let mut made = Vec::new();
    for (number, settings) in spread().into_iter().enumerate() {
        let declared = numbered(number, settings.clone());
        let instance = process.apply("nats_stream", None, declared.clone()).await;
        let instance = instance.unwrap_or_else(|error| panic!("{settings}: {}", error.diagnostics));
        plans_nothing(&process, &instance, &declared).await;
        made.push((declared, instance));
    }
    let next = real.rig.process().await;
    for (declared, instance) in &made {
        let (read, warnings) = next.read("nats_stream", instance).await.unwrap();
        assert!(warnings.is_empty(), "{warnings}");
        assert_eq!(read.as_ref(), Some(instance));
        let imported = next.import("nats_stream", instance.state.attr("id").as_str().unwrap()).await.unwrap();
        plans_nothing(&next, &imported, declared).await;
        next.destroy("nats_stream", &imported).await.unwrap();
        assert_eq!(real.rig.process().await.read("nats_stream", instance).await.unwrap().0, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_in_place_keep_messages_and_what_only_the_server_knows() {
    let real = Real::start().await;
    let process = real.rig.process().await;
    let first = numbered(1, json!({"max_age": "1h"}));
    let mut made = process.apply("nats_stream", None, first).await.unwrap();
    real.publish("s1.x", 10).await;
    let changes = [
        json!({"max_age": "30s"}),
        json!({"max_age": "30s", "compression": "s2", "allow_direct": true}),
        json!({"discard": "new", "description": "x", "metadata": {"a": "b"}}),
        json!({"max_messages": 100, "metadata": {"c": "d"}}),
        json!({"max_bytes": "1MB", "allow_message_ttl": true, "deny_delete": true}),
        json!({"max_bytes": "1MB", "allow_message_ttl": true, "deny_delete": true, "subjects": ["other"]}),
    ];
    for change in changes {
        let declared = numbered(1, change.clone());
        let changed = process.apply("nats_stream", Some(&made), declared.clone()).await;
        made = changed.unwrap_or_else(|error| panic!("{change}: {}", error.diagnostics));
        plans_nothing(&process, &made, &declared).await;
    }
    let jetstream = async_nats::jetstream::new(real.client.clone());
    let info = jetstream.get_stream("S1").await.unwrap().cached_info().clone();
    assert_eq!((info.state.messages, info.config.subjects.as_slice()), (10, ["other".to_owned()].as_slice()));
    assert_eq!(info.config.metadata["terraform.owner"], "acme/orders/S1");
    assert!(!info.config.metadata.contains_key("a"), "{:?}", info.config.metadata);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_that_the_plan_calls_a_replacement_is_one_that_the_server_refuses() {
    let real = Real::start().await;
    let process = real.rig.process().await;
    let on = json!({"deny_delete": true, "deny_purge": true, "allow_message_ttl": true});
    let cases = [
        (json!({}), json!({"storage": "memory"}), "storage"),
        (json!({}), json!({"retention": "workqueue"}), "retention"),
        (json!({"retention": "workqueue"}), json!({"retention": "interest"}), "retention"),
        (on.clone(), json!({"deny_purge": true, "allow_message_ttl": true}), "deny_delete"),
        (on.clone(), json!({"deny_delete": true, "allow_message_ttl": true}), "deny_purge"),
        (on, json!({"deny_delete": true, "deny_purge": true}), "allow_message_ttl"),
    ];
    for (number, (from, to, attribute)) in cases.into_iter().enumerate() {
        let made = process.apply("nats_stream", None, numbered(number, from)).await.unwrap();
        real.publish(["s0.x", "s1.x", "s2.x", "s3.x", "s4.x", "s5.x"][number], 2).await;
        let next = numbered(number, to);
        let plan = real.rig.process().await.plan("nats_stream", Some(&made), next.clone()).await.unwrap();
        assert_eq!((plan.action, plan.requires_replace.len()), (Action::Replace, 1), "{attribute}");
        assert_eq!(plan.requires_replace[0].to_string(), attribute);
        tells(&plan.diagnostics, &["NATS cannot edit this in place"]);
        let jetstream = async_nats::jetstream::new(real.client.clone());
        let name = format!("S{number}");
        let mut config = jetstream.get_stream(&name).await.unwrap().cached_info().config.clone();
        match attribute {
            "storage" => config.storage = async_nats::jetstream::stream::StorageType::Memory,
            "retention" if number == 1 => {
                config.retention = async_nats::jetstream::stream::RetentionPolicy::WorkQueue
            }
            "retention" => config.retention = async_nats::jetstream::stream::RetentionPolicy::Interest,
            "deny_delete" => config.deny_delete = false,
            "deny_purge" => config.deny_purge = false,
            _ => config.allow_message_ttl = false,
        }
        let refused = jetstream.update_stream(config).await;
        assert!(refused.is_err(), "the server edits `{attribute}` in place");
        let replaced = process.apply("nats_stream", Some(&made), next.clone()).await.unwrap();
        plans_nothing(&process, &replaced, &next).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_refuses_is_told_in_its_words_with_a_remedy() {
    let real = Real::start().await;
    let process = real.rig.process().await;
    let made = process.apply("nats_stream", None, numbered(1, json!({}))).await.unwrap();
    let overlap = numbered(2, json!({"subjects": ["s1.a.b"]}));
    let refused = process.apply("nats_stream", None, overlap).await.unwrap_err();
    assert_eq!(refused.left, None);
    tells(
        &refused.diagnostics,
        &["Stream `acme/orders/S2` cannot be created", "subjects overlap", "Another stream of the account"],
    );
    let three = numbered(1, json!({"replicas": 3}));
    let refused = process.apply("nats_stream", Some(&made), three).await.unwrap_err();
    assert_eq!(refused.left, Some(made));
    tells(
        &refused.diagnostics,
        &["Stream `acme/orders/S1` cannot be changed", "JetStream refused: replicas > 1 not supported"],
    );
}
