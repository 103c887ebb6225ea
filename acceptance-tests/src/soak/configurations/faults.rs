//! Valid configurations with one fault each, as JSON of the model: the types or a rule must refuse every one, and a rule
//! must name the field.

mod between;
mod declared;
mod extra;
mod rules;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use nats_config::ServerConfig;
use serde_json::{Value, json};

use self::between::{BETWEEN, Break};
use self::extra::ExtraFault;
use self::rules::{Put, RULES, TYPES};
use super::coverage::{at, fields};
use super::lone;
use super::topology::topology;
use crate::lone_server::site::authority;
use crate::soak::chance::Chance;

pub(super) use self::declared::refuse_declarations;

/// How many valid configurations faults are put into.
const BASES: u64 = 200;
/// How many texts of what went wrong are kept.
const KEPT: usize = 5;

/// One kind of fault.
enum Fault {
    /// A value that breaks a rule.
    Rule(&'static str, &'static str),
    /// A value that the type of the field cannot hold.
    Type(&'static str, &'static str),
    /// A value of another kind of JSON than the field's; the kind is drawn.
    Kind(String),
    /// A key that nothing has, beside the field.
    Unknown(String),
    /// Two fields that do not go together.
    Between(&'static str, Break),
    /// A further setting.
    Extra(ExtraFault),
}

/// What was counted.
#[derive(Debug, Default)]
pub(super) struct Counted {
    /// Kinds of fault, and how many of them were put in at least once.
    pub(super) kinds: usize,
    pub(super) kinds_put: usize,
    pub(super) put: u64,
    /// By a rule that named the field.
    pub(super) by_rule: u64,
    /// By the types: such a configuration cannot be written down.
    pub(super) by_type: u64,
    /// Fields of the model, and those of them with a fault.
    pub(super) fields: usize,
    pub(super) fields_put: usize,
    /// Mistakes that people are known to make, all of them put in.
    pub(super) mistakes: usize,
    /// The first texts of what went wrong, each with the number that makes it again.
    pub(super) wrong: Vec<String>,
}

/// Puts `count` faults into valid configurations of the run from `seed`.
pub(super) fn refuse(seed: u64, count: u64) -> Result<Counted> {
    let bases = bases(seed)?;
    // What a field may be is what it was in some valid configuration.
    let known: BTreeSet<String> = bases.iter().flat_map(fields).map(|(field, _)| field).collect();
    let is_leaf = |field: &&String| !known.iter().any(|other| is_below(other, field));
    let known: BTreeSet<&String> = known.iter().filter(is_leaf).collect();
    let faults = all(&known);
    let mut counted = Counted {
        kinds: faults.len(),
        fields: known.len(),
        mistakes: extra::mistakes(),
        ..Counted::default()
    };
    ensure!(
        count >= faults.len() as u64,
        "{count} rounds are fewer than the {} kinds of fault",
        faults.len()
    );
    let mut put: BTreeMap<usize, u64> = BTreeMap::new();
    let mut touched = BTreeSet::new();
    let mut number = 0;
    while counted.put < count {
        let mut chance = Chance::of(seed, number);
        let kind = usize::try_from(number)? % faults.len();
        number += 1;
        ensure!(
            number < count.saturating_mul(20),
            "too few configurations have what faults could be put into"
        );
        let Some((model, told)) = broken(&bases, &faults[kind], &mut chance) else { continue };
        counted.put += 1;
        *put.entry(kind).or_default() += 1;
        if !matches!(faults[kind], Fault::Unknown(_)) {
            touched.extend(known.iter().filter(|field| told.starts_with(field.as_str())).copied());
        }
        match (serde_json::from_value::<ServerConfig>(model), &faults[kind]) {
            (Err(_), Fault::Type(..) | Fault::Kind(_) | Fault::Unknown(_)) => counted.by_type += 1,
            (Ok(config), Fault::Rule(..) | Fault::Between(..) | Fault::Extra(_)) => match config.validate() {
                Err(problems) if problems.iter().any(|one| names(&one.path, &told)) => counted.by_rule += 1,
                Err(problems) => counted.wrong.push(format!("{number}: {told} is not named: {problems:?}")),
                Ok(()) => {
                    let what = if let Fault::Between(what, _) = &faults[kind] { what } else { "a fault" };
                    counted.wrong.push(format!("{number}: {what} at {told} passes"));
                }
            },
            (read, _) => counted.wrong.push(format!("{number}: {told}: {:?}", read.map(|_| "it was read"))),
        }
    }
    counted.kinds_put = put.len();
    counted.fields_put = touched.len();
    counted.wrong.truncate(KEPT);
    Ok(counted)
}

/// A base with the fault in it, and the path that must be named; none when no base has what it could be put into.
fn broken(bases: &[Value], fault: &Fault, chance: &mut Chance) -> Option<(Value, String)> {
    let start = chance.below(0..bases.len());
    bases.iter().cycle().skip(start).take(bases.len()).find_map(|base| {
        let mut model = base.clone();
        let told = break_it(&mut model, fault, chance)?;
        (model != *base).then_some((model, told))
    })
}

/// Whether a problem is told at the fault, or at the section that holds it.
fn names(problem: &str, told: &str) -> bool {
    problem == told || is_below(told, problem) || is_below(problem, told)
}

fn is_below(path: &str, parent: &str) -> bool {
    path.strip_prefix(parent).is_some_and(|rest| rest.starts_with(['.', '[']))
}

/// Valid configurations as JSON, from topologies and any others.
fn bases(seed: u64) -> Result<Vec<Value>> {
    let trust = authority(1);
    let mut bases = Vec::new();
    for number in 0..BASES {
        let mut chance = Chance::of(seed, number);
        let config = if number % 2 == 0 {
            let all = chance.draw(&topology())?.configurations(&trust);
            chance.one(&all).cloned()
        } else {
            Some(chance.draw(&lone::configuration())?)
        };
        bases.extend(config.map(serde_json::to_value).transpose()?);
    }
    Ok(bases)
}

/// Every kind of fault, for these fields.
fn all(known: &BTreeSet<&String>) -> Vec<Fault> {
    let fits = |pattern: &'static str| {
        let matches = move |field: &&&String| {
            let parts = pattern.split('.').zip(field.split('.'));
            let same = parts.clone().count() == pattern.split('.').count();
            // `jetstream.sync` is one of two things, and so is no field of its own.
            same && (field.split('.').count() == pattern.split('.').count()
                || field.starts_with("jetstream.sync"))
                && parts.clone().all(|(wanted, found)| wanted == "*" || wanted == found)
        };
        let cut = move |field: &&String| -> &'static str {
            let field = field.strip_suffix(".every").unwrap_or(field);
            // The fields are those of one model and few, so that keeping them costs nothing.
            Box::leak(field.to_owned().into_boxed_str())
        };
        known.iter().filter(matches).map(cut).collect::<Vec<_>>()
    };
    let puts = |table: &'static [Put]| {
        table.iter().flat_map(move |put| {
            fits(put.at).into_iter().flat_map(move |at| put.values.iter().map(move |value| (at, *value)))
        })
    };
    let mut faults = Vec::new();
    faults.extend(puts(RULES).map(|(at, value)| Fault::Rule(at, value)));
    faults.extend(puts(TYPES).map(|(at, value)| Fault::Type(at, value)));
    faults.extend(known.iter().map(|field| Fault::Kind((*field).clone())));
    faults.extend(known.iter().map(|field| Fault::Unknown((*field).clone())));
    faults.extend(BETWEEN.iter().map(|(name, fault)| Fault::Between(name, *fault)));
    faults.extend(extra::all().into_iter().map(Fault::Extra));
    faults
}

/// Puts a fault in; the path that must be named, none where this configuration has no such field.
fn break_it(model: &mut Value, fault: &Fault, chance: &mut Chance) -> Option<String> {
    match fault {
        Fault::Rule(field, value) | Fault::Type(field, value) => {
            *at(model, field)? = serde_json::from_str(value).ok()?;
            Some((*field).to_owned())
        }
        Fault::Kind(field) => {
            let value = at(model, field)?;
            let other = [json!([[1]]), json!({ "no such": 1 }), json!(true), json!(-7), json!("\u{0}")];
            // What is absent may be of any simple kind.
            let kinds = if value.is_null() { &other[..2] } else { &other[..] };
            let differs = |other: &&Value| std::mem::discriminant(*other) != std::mem::discriminant(value);
            let kinds: Vec<&Value> = kinds.iter().filter(differs).collect();
            *value = (*chance.one(&kinds)?).clone();
            Some(field.clone())
        }
        Fault::Unknown(field) => {
            let (section, key) = field.rsplit_once('.').unwrap_or(("", field));
            let section = if section.is_empty() { Some(model) } else { at(model, section) };
            section?.as_object_mut()?.insert(format!("{key}_x"), json!(1));
            Some(field.clone())
        }
        Fault::Between(_, fault) => fault(model, chance),
        Fault::Extra(fault) => extra::put(model, fault),
    }
}
