//! A service manager of one host that can be told to fail: it reads the drop-in, checks its asserts, starts the very
//! program as its child, and starts it again when it is killed, as the package's unit says.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use host_state::layout;
use nats_agent::parts::systemd::{Machine, Systemd, Unit, UnitError, UnitState, Verb};
use rustix::process::{Pid, Signal, kill_process};

pub(crate) struct FakeSystemd {
    state_dir: PathBuf,
    pub(crate) unit_dir: PathBuf,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    child: Option<Child>,
    invocation: u64,
    started_us: u64,
    restarts: u32,
    last_exit: Option<String>,
    is_failed: bool,
    is_masked: bool,
    /// The drop-in as it was last read.
    loaded: Option<String>,
    /// What was asked, in order.
    asked: Vec<String>,
    /// What is answered with a failed job.
    failing: BTreeSet<String>,
    is_silent: bool,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl FakeSystemd {
    pub(crate) fn new(state_dir: PathBuf, unit_dir: PathBuf) -> Arc<FakeSystemd> {
        std::fs::create_dir_all(&unit_dir).unwrap();
        Arc::new(FakeSystemd { state_dir, unit_dir, inner: Mutex::default() })
    }

    pub(crate) fn machine(self: &Arc<Self>) -> Machine {
        let systemd = Arc::clone(self) as Arc<dyn Systemd>;
        // The firewall of the machine that runs the tests is nobody's to change.
        Machine { systemd, unit_dir: self.unit_dir.clone(), has_firewall: false }
    }

    pub(crate) fn drop_in(&self) -> PathBuf {
        self.unit_dir.join(layout::DROP_IN_PATH)
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.look().child.as_ref().map(Child::id)
    }

    /// Every job named so ends as failed from now on; none of them with an empty list.
    pub(crate) fn fail(&self, jobs: &[&str]) {
        self.look().failing = jobs.iter().map(|job| (*job).to_owned()).collect();
    }

    /// Whether it answers nobody.
    pub(crate) fn be_silent(&self, is_silent: bool) {
        self.look().is_silent = is_silent;
    }

    pub(crate) fn mask(&self) {
        self.look().is_masked = true;
    }

    /// What was asked since the last time.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.look().asked)
    }

    /// As `systemctl restart` by a person.
    pub(crate) fn restart_by_hand(&self) {
        let mut inner = self.look();
        inner.end(Signal::TERM);
        inner.start(&self.state_dir).unwrap();
    }

    pub(crate) fn stop_by_hand(&self) {
        self.look().end(Signal::TERM);
    }

    /// The inner state; a child that was killed meanwhile starts again.
    fn look(&self) -> std::sync::MutexGuard<'_, Inner> {
        let mut inner = self.inner.lock().unwrap();
        if let Some(status) = inner.child.as_mut().and_then(|child| child.try_wait().unwrap()) {
            inner.child = None;
            inner.last_exit = Some(status.to_string());
            inner.is_failed = !status.success();
            if !status.success() && inner.restarts < 5 {
                inner.restarts += 1;
                let _ = inner.start(&self.state_dir);
            }
        }
        inner
    }

    fn ask(&self, what: String) -> Result<std::sync::MutexGuard<'_, Inner>, UnitError> {
        let mut inner = self.look();
        inner.asked.push(what);
        if inner.is_silent {
            return Err(UnitError::Bus { reason: "the bus is closed".to_owned() });
        }
        Ok(inner)
    }
}

impl Inner {
    fn start(&mut self, state_dir: &Path) -> Result<(), &'static str> {
        if self.child.is_some() {
            return Ok(());
        }
        let text = self.loaded.clone().unwrap_or_default();
        let values = |name: &str| -> Vec<String> {
            let name = format!("{name}=");
            text.lines().filter_map(|line| line.strip_prefix(&name)).map(str::to_owned).collect()
        };
        if !values("AssertPathExists").iter().all(|path| Path::new(path).exists()) {
            return Err("assert");
        }
        let command = values("ExecStart").pop().unwrap_or_default();
        let mut words = command.split(' ');
        let binary = words.next().filter(|word| !word.is_empty()).ok_or("failed")?;
        let child = Command::new(binary)
            .args(words)
            .current_dir(state_dir)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.child = Some(child.map_err(|_| "failed")?);
        self.invocation += 1;
        self.started_us =
            u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap();
        self.is_failed = false;
        Ok(())
    }

    fn end(&mut self, signal: Signal) {
        let Some(mut child) = self.child.take() else { return };
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        let _ = kill_process(pid, signal);
        let deadline = Instant::now() + Duration::from_secs(20);
        while child.try_wait().unwrap().is_none() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = child.kill();
        self.last_exit = Some(child.wait().unwrap().to_string());
    }
}

#[async_trait]
impl Systemd for FakeSystemd {
    async fn run(&self, unit: Unit, verb: Verb, _: Duration) -> Result<(), UnitError> {
        let name = format!("{verb} {unit}");
        let job = |result: &str| Err(UnitError::Job { verb, unit, result: result.to_owned() });
        {
            let mut inner = self.ask(name.clone())?;
            if inner.failing.contains(&name) {
                return job("failed");
            }
            match (unit, verb) {
                (Unit::NatsServer, Verb::Start) => {
                    if inner.is_masked {
                        let reason = "Unit nats-server.service is masked.".to_owned();
                        return Err(UnitError::Refused { verb: verb.to_string(), unit, reason });
                    }
                    return inner.start(&self.state_dir).or_else(job);
                }
                (Unit::NatsServer, Verb::Stop) => {
                    inner.end(Signal::TERM);
                    return Ok(());
                }
                (Unit::NatsServer, Verb::Reload) => {
                    let Some(child) = &inner.child else { return job("failed") };
                    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
                    kill_process(pid, Signal::HUP).unwrap();
                    return Ok(());
                }
                (Unit::Shadow, Verb::Stop | Verb::Reload) => return Ok(()),
                (Unit::Shadow, Verb::Start) => {}
            }
        }
        match nats_agent::shadow::serve::serve(&self.state_dir).await {
            Ok(()) => Ok(()),
            Err(_) => job("failed"),
        }
    }

    async fn kill(&self, unit: Unit, signal: i32) -> Result<(), UnitError> {
        let mut inner = self.ask(format!("kill {unit} {signal}"))?;
        if signal == 9 {
            inner.end(Signal::KILL);
        }
        Ok(())
    }

    async fn reset_failed(&self, unit: Unit) -> Result<(), UnitError> {
        let mut inner = self.ask(format!("reset {unit}"))?;
        (inner.is_failed, inner.restarts) = (false, 0);
        Ok(())
    }

    async fn reload(&self) -> Result<(), UnitError> {
        let mut inner = self.ask("daemon-reload".to_owned())?;
        inner.loaded = std::fs::read_to_string(self.drop_in()).ok();
        Ok(())
    }

    async fn unmask(&self, unit: Unit) -> Result<(), UnitError> {
        self.ask(format!("unmask {unit}"))?.is_masked = false;
        Ok(())
    }

    async fn state(&self, unit: Unit) -> Result<UnitState, UnitError> {
        let mut inner = self.look();
        if inner.is_silent {
            return Err(UnitError::Bus { reason: "the bus is closed".to_owned() });
        }
        let main_pid = inner.child.as_mut().map(|child| child.id()).filter(|_| unit == Unit::NatsServer);
        let active = match (main_pid, inner.is_failed) {
            (Some(_), _) => "active",
            (None, true) => "failed",
            (None, false) => "inactive",
        };
        let directory = self.unit_dir.join("nats-server.service.d");
        let entries = std::fs::read_dir(directory).into_iter().flatten();
        Ok(UnitState {
            load: if inner.is_masked { "masked" } else { "loaded" }.to_owned(),
            active: active.to_owned(),
            sub: String::new(),
            result: String::new(),
            main_pid,
            invocation: main_pid.map(|_| format!("{:032x}", inner.invocation)),
            restarts: inner.restarts,
            started_us: inner.started_us,
            last_exit: inner.last_exit.clone(),
            file_state: "static".to_owned(),
            fragment: PathBuf::from("/lib/systemd/system/nats-server.service"),
            drop_ins: entries.map(|entry| entry.unwrap().path()).collect(),
            open_files: Some((524_288, 800_000)),
            needs_reload: std::fs::read_to_string(self.drop_in()).ok() != inner.loaded,
        })
    }

    async fn main_pid(&self, unit: Unit) -> Result<Option<u32>, UnitError> {
        Ok(self.state(unit).await?.main_pid)
    }
}
