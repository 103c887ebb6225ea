//! Strikes an agent's effects where it was told to, and remembers what was reached and what was struck.

use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nats_agent::parts::effects::{Effect, Faults, Moment};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::point::{Fault, Point};
use crate::rig::torn::tear;

/// Before this on a line of a process that is about to be killed stands the point.
pub const STRUCK: &str = "struck ";

/// What is to strike, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strike {
    /// At which moment, counted from 0 since the strikes were armed.
    pub at: usize,
    /// What.
    pub fault: Fault,
    /// Whether every later effect meets it again.
    pub lasting: bool,
    /// Where a torn file ends, in 255ths of its length.
    pub torn_at: u8,
}

/// The faults of one life of an agent.
#[derive(Debug)]
pub struct Strikes {
    strikes: Vec<Strike>,
    /// Fails once, for the operation's own sake: it is one that goes back.
    setback: Option<(Effect, Moment)>,
    /// Refuses everything, so that nothing at all may change.
    is_shut: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    is_armed: bool,
    is_set_back: bool,
    lasting: Option<Fault>,
    reached: Vec<(Effect, Moment)>,
    struck: Vec<Point>,
}

impl Strikes {
    /// Faults that are not armed yet.
    #[must_use]
    pub fn new(strikes: Vec<Strike>, setback: Option<(Effect, Moment)>) -> Strikes {
        Strikes { strikes, setback, is_shut: false, state: Mutex::default() }
    }

    /// Faults that, once armed, refuse every effect before it is begun.
    #[must_use]
    pub fn shut() -> Strikes {
        Strikes { strikes: Vec::new(), setback: None, is_shut: true, state: Mutex::default() }
    }

    /// From now on they strike.
    pub fn arm(&self) {
        self.state().is_armed = true;
    }

    /// From now on they do not.
    pub fn disarm(&self) {
        self.state().is_armed = false;
    }

    /// What was reached while they were armed, in order.
    #[must_use]
    pub fn reached(&self) -> Vec<(Effect, Moment)> {
        self.state().reached.clone()
    }

    /// What was struck.
    #[must_use]
    pub fn struck(&self) -> Vec<Point> {
        self.state().struck.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn meet(&self, effect: Effect, moment: Moment, file: Option<&Path>) -> io::Result<()> {
        let mut state = self.state();
        if !state.is_armed {
            return Ok(());
        }
        if self.is_shut {
            return Err(error(Fault::IoError));
        }
        if self.setback == Some((effect, moment)) && !state.is_set_back {
            state.is_set_back = true;
            return Err(error(Fault::IoError));
        }
        let at = state.reached.len();
        state.reached.push((effect, moment));
        if let Some(fault) = state.lasting.filter(|fault| fault.lasts(effect.form(), moment)) {
            return Err(error(fault));
        }
        let Some(strike) = self.strikes.iter().find(|strike| strike.at == at) else { return Ok(()) };
        if !strike.fault.fits(effect.form(), moment) {
            return Ok(());
        }
        let point = Point { effect, moment, fault: strike.fault };
        state.struck.push(point);
        if strike.lasting {
            state.lasting = Some(strike.fault);
        }
        if strike.fault != Fault::Kill
            && strike.fault != Fault::IoError
            && let Some(file) = file
        {
            tear(file, strike.torn_at, effect.form())?;
        }
        if strike.fault.kills() {
            die(&point);
        }
        Err(error(strike.fault))
    }
}

impl Faults for Strikes {
    fn reach(&self, effect: Effect, moment: Moment) -> io::Result<()> {
        self.meet(effect, moment, None)
    }

    fn written(&self, effect: Effect, file: &Path) -> io::Result<()> {
        self.meet(effect, Moment::Written, Some(file))
    }
}

fn error(fault: Fault) -> io::Error {
    match fault {
        Fault::NoSpace => rustix::io::Errno::NOSPC.into(),
        Fault::FailedWrite => io::ErrorKind::WriteZero.into(),
        Fault::Kill | Fault::Torn | Fault::IoError => rustix::io::Errno::IO.into(),
    }
}

/// Ends this process as `kill -9` does. What was struck is told on standard output before.
#[expect(clippy::print_stdout, reason = "nothing else of the process is left afterwards")]
fn die(point: &Point) -> ! {
    println!("{STRUCK}{point}");
    let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::KILL);
    loop {
        std::thread::park();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strike(at: usize, fault: Fault, lasting: bool) -> Strike {
        Strike { at, fault, lasting, torn_at: 128 }
    }

    #[test]
    fn strikes_once_at_its_moment_and_only_while_armed() {
        let strikes = Strikes::new(vec![strike(1, Fault::IoError, false)], None);
        assert!(strikes.reach(Effect::Prune, Moment::Before).is_ok());
        strikes.arm();
        assert!(strikes.reach(Effect::Prune, Moment::Before).is_ok());
        assert!(strikes.reach(Effect::Prune, Moment::After).is_err());
        assert!(strikes.reach(Effect::Prune, Moment::Before).is_ok());
        assert_eq!(strikes.struck().len(), 1);
        assert_eq!(strikes.reached().len(), 3);
    }

    #[test]
    fn a_full_disk_stays_full_and_lets_signals_pass() {
        let strikes = Strikes::new(vec![strike(0, Fault::NoSpace, true)], None);
        strikes.arm();
        assert!(strikes.reach(Effect::WriteLeaf, Moment::Before).is_err());
        assert!(strikes.reach(Effect::WriteLedger, Moment::Before).is_err());
        assert!(strikes.reach(Effect::ReloadServer, Moment::Before).is_ok());
        strikes.disarm();
        assert!(strikes.reach(Effect::WriteLedger, Moment::Before).is_ok());
    }

    #[test]
    fn a_torn_file_is_a_beginning_of_what_was_written() {
        let directory = tempfile::tempdir().expect("a directory for the test");
        let file = directory.path().join("file");
        std::fs::write(&file, [7; 100]).expect("the file");
        let strikes = Strikes::new(vec![strike(0, Fault::FailedWrite, false)], None);
        strikes.arm();
        assert!(strikes.written(Effect::WriteLeaf, &file).is_err());
        assert_eq!(std::fs::read(&file).expect("the file").len(), 50);
        std::fs::write(&file, "kept\nnew line\n").expect("the file");
        let strikes = Strikes::new(vec![strike(0, Fault::FailedWrite, false)], None);
        strikes.arm();
        assert!(strikes.written(Effect::AppendAudit, &file).is_err());
        assert_eq!(std::fs::read(&file).expect("the file"), b"kept\nnew ");
    }
}
