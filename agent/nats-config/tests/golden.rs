//! Rendered texts and refusals as files: `NN-name.model.json` gives `NN-name.json`, `.digest`, `.trial.json`;
//! `fails/NN-name.model.json` gives `fails/NN-name.problems`. `UPDATE_GOLDEN=1` rewrites what is expected.
#![cfg_attr(test, expect(clippy::unwrap_used, reason = "a test that cannot read its files must fail"))]

use std::{
    fs,
    path::{Path, PathBuf},
};

use nats_config::{ServerConfig, ShadowPlan, render, shadow};
use serde_json::Value;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// The models in `folder`, by name, in order.
fn models(folder: &Path) -> Vec<(String, ServerConfig)> {
    let mut found: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .filter_map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name()?.to_str()?.strip_suffix(".model.json")?.to_owned();
            let model = serde_json::from_str(&fs::read_to_string(&path).unwrap());
            Some((name, model.unwrap_or_else(|error| panic!("{}: {error}", path.display()))))
        })
        .collect();
    found.sort_by(|(left, _), (right, _)| left.cmp(right));
    assert!(!found.is_empty(), "no models in {}", folder.display());
    found
}

fn check(path: &Path, found: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(path, found).unwrap();
    }
    let expected = fs::read_to_string(path)
        .unwrap_or_else(|error| panic!("{}: {error}; UPDATE_GOLDEN=1 writes it", path.display()));
    assert_eq!(found, expected, "{} differs; UPDATE_GOLDEN=1 rewrites it", path.display());
}

#[test]
fn models_render_as_expected() {
    let plan = ShadowPlan { directory: "/run/nats-agent/trial".to_owned() };
    for (name, model) in models(&folder()) {
        assert_eq!(model.validate(), Ok(()), "{name}");
        let rendered = render(&model);
        check(&folder().join(format!("{name}.json")), &rendered.text);
        check(&folder().join(format!("{name}.digest")), &format!("{}\n", rendered.digest));
        check(&folder().join(format!("{name}.trial.json")), &shadow(&model, &plan).text);
    }
}

#[test]
fn every_problem_of_a_bad_model_is_named() {
    let folder = folder().join("fails");
    for (name, model) in models(&folder) {
        let problems = model.validate().unwrap_err();
        let lines: Vec<String> = problems.iter().map(|problem| format!("{problem}\n")).collect();
        check(&folder.join(format!("{name}.problems")), &lines.concat());
    }
}

#[test]
fn a_model_with_an_unknown_field_or_a_broken_name_is_refused_by_serde() {
    let text = fs::read_to_string(folder().join("02-supercluster-member.model.json")).unwrap();
    let with = |pointer: &str, key: &str, value: Value| -> String {
        let mut model: Value = serde_json::from_str(&text).unwrap();
        model.pointer_mut(pointer).unwrap()[key] = value;
        serde_json::from_value::<ServerConfig>(model).unwrap_err().to_string()
    };
    assert!(with("", "routes", Value::from("x")).starts_with("unknown field `routes`"));
    assert!(with("/jetstream", "max_streams", Value::from(1)).starts_with("unknown field `max_streams`"));
    assert!(with("", "server_name", Value::from("a b")).contains("the name `a b` holds ' '"));
    assert!(with("/lame_duck", "duration", Value::from("30")).contains("`30` has the unit ``"));
    assert!(with("/jetstream", "max_storage", Value::from(-1)).contains("invalid value: integer `-1`"));
}
