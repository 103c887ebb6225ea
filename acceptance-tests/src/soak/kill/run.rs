//! One run: a host as it was kept, an operation that is struck, perhaps a start that is struck as well, then calm.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};

use super::life::{Life, Script, perform};
use super::operation::{Operation, Prepared};
use super::point::Point;
use super::site::Site;
use super::strikes::{STRUCK, Strike, Strikes};
use super::watch::{Promise, Watch};

/// What happens in one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// What the agent is busy with.
    pub operation: Operation,
    /// What strikes it.
    pub strikes: Vec<Strike>,
    /// What strikes the start after that.
    pub then: Option<Strike>,
    /// Whether an agent that lives on is started again before one more apply.
    pub restarts: bool,
}

/// What came of one run.
#[derive(Debug, Default)]
pub struct Found {
    /// What was struck.
    pub struck: Vec<Point>,
    /// Promises that were not kept, and how that showed.
    pub broken: Vec<(Promise, String)>,
}

/// A host with its kept beginnings, for one thread.
#[derive(Debug)]
pub struct Bench {
    site: Site,
    life: PathBuf,
    prepared: BTreeMap<Operation, Prepared>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = self.site.end_processes();
    }
}

impl Bench {
    /// Runs on `site`, with `life` as the program that is killed.
    #[must_use]
    pub fn new(site: Site, life: PathBuf) -> Bench {
        Bench { site, life, prepared: BTreeMap::new() }
    }

    /// Where it runs.
    #[must_use]
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// The host for `operation`, put back to its beginning.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn begin(&mut self, operation: Operation) -> Result<Prepared> {
        let prepared = match self.prepared.get(&operation) {
            Some(prepared) => prepared.clone(),
            None => {
                let made = Prepared::make(&self.site, operation);
                let made = made.with_context(|| format!("make a host ready for {operation:?}"))?;
                self.prepared.insert(operation, made.clone());
                made
            }
        };
        self.site.put_back(&Prepared::kept(operation))?;
        Ok(prepared)
    }

    fn script(&self, prepared: &Prepared, strikes: Vec<Strike>) -> Script {
        let operation = prepared.operation;
        Script {
            site: self.site.clone(),
            from_start: !operation.is_live(),
            damage: Some(operation),
            setback: Some(operation),
            asks: prepared.asks.clone(),
            strikes,
        }
    }

    /// Every moment that `operation` passes when nothing strikes.
    ///
    /// # Errors
    /// When it does not come to its end.
    pub fn moments(&mut self, operation: Operation) -> Result<Strikes> {
        let prepared = self.begin(operation)?;
        let strikes = Arc::new(Strikes::new(Vec::new(), operation.setback()));
        let (life, done) = perform(&self.script(&prepared, Vec::new()), &strikes);
        strikes.disarm();
        done.with_context(|| format!("{operation:?} without any strike"))?;
        drop(life);
        Arc::into_inner(strikes).context("the strikes of a life that has ended")
    }

    /// One run.
    ///
    /// # Errors
    /// When the run itself cannot be made; a broken promise is none.
    pub fn run(&mut self, case: &Case) -> Result<Found> {
        let prepared = self.begin(case.operation)?;
        let site = self.site.clone();
        let mut watch = Watch::begin(&site, &prepared);
        let script = self.script(&prepared, case.strikes.clone());
        let mut struck = Vec::new();
        let mut life = if case.strikes.iter().any(|strike| strike.fault.kills()) {
            struck.extend(self.killed(&script)?);
            None
        } else {
            let strikes = Arc::new(Strikes::new(script.strikes.clone(), case.operation.setback()));
            let (life, _) = perform(&script, &strikes);
            strikes.disarm();
            struck.extend(strikes.struck());
            life.filter(|_| !case.restarts)
        };
        watch.disk(case.operation.is_damaged());
        if let Some(then) = case.then {
            drop(life.take());
            let again = Script {
                from_start: true,
                damage: None,
                setback: None,
                asks: Vec::new(),
                strikes: vec![then],
                ..script
            };
            struck.extend(self.killed(&again)?);
            watch.disk(case.operation.is_damaged());
        }
        let calm = || Arc::new(Strikes::new(Vec::new(), None));
        let life = match life {
            Some(life) => life,
            None => match Life::open(&site, calm()) {
                Ok(life) => {
                    life.settle();
                    watch.restarted(&life);
                    life
                }
                Err(error) => {
                    watch.add(Promise::Converged, format!("the agent does not start: {error:#}"));
                    return Ok(found(case, struck, watch));
                }
            },
        };
        watch.converge(&life);
        if case.restarts && watch.broken.is_empty() {
            drop(life);
            match Life::open(&site, calm()) {
                Ok(life) => {
                    life.settle();
                    watch.restarted(&life);
                    watch.arrived(&life);
                }
                Err(error) => watch.add(Promise::Converged, format!("a later start: {error:#}")),
            }
        }
        Ok(found(case, struck, watch))
    }

    /// Runs `script` in a process of its own, which may be killed by it.
    fn killed(&self, script: &Script) -> Result<Vec<Point>> {
        let mut child = Command::new(&self.life)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("start `{}`", self.life.display()))?;
        let input = child.stdin.take().context("its input")?;
        serde_json::to_writer(&input, script)?;
        (&input).flush()?;
        drop(input);
        let output = child.wait_with_output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let is_known = text.lines().any(|line| line.starts_with(STRUCK) || line.starts_with("ended "));
        ensure!(is_known, "it ended with {} and said `{text}`", output.status);
        Ok(text.lines().filter_map(|line| Point::named(line.strip_prefix(STRUCK)?)).collect())
    }
}

fn found(case: &Case, struck: Vec<Point>, watch: Watch<'_>) -> Found {
    let shown: Vec<String> = struck.iter().map(ToString::to_string).collect();
    let broken = watch
        .broken
        .into_iter()
        .map(|broken| (broken.promise, format!("{} ({case:?}, struck at {shown:?})", broken.text)));
    Found { broken: broken.collect(), struck }
}
