//! Every point at which an agent can be struck: which effect, at which moment, by what. Data, derived from the agent's
//! own table of effects; must not strike anything.

use nats_agent::parts::effects::{Effect, Form, Moment, OF_HOSTS};
use serde::{Deserialize, Serialize};

/// What strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The agent's process ends by SIGKILL.
    Kill,
    /// A power cut before fsync: the file is torn anywhere, and the agent is gone.
    Torn,
    /// A write that takes only some of the bytes and fails.
    FailedWrite,
    /// ENOSPC; a file that was being written is cut short.
    NoSpace,
    /// EIO.
    IoError,
}

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 5] =
        [Fault::Kill, Fault::Torn, Fault::FailedWrite, Fault::NoSpace, Fault::IoError];

    /// Whether the agent is gone afterwards.
    #[must_use]
    pub fn kills(self) -> bool {
        matches!(self, Fault::Kill | Fault::Torn)
    }

    /// Whether it can strike there. A full disk says so before anything is done; only a file that is not fsynced is
    /// torn, which is what [`Moment::Written`] is for.
    #[must_use]
    pub fn fits(self, form: Form, moment: Moment) -> bool {
        form.moments().contains(&moment)
            && match self {
                Fault::Kill | Fault::IoError => true,
                Fault::Torn | Fault::FailedWrite => moment == Moment::Written,
                Fault::NoSpace => !is_act(form) && moment != Moment::After,
            }
    }

    /// Whether it, once there, is met again by every later effect of this form: a full disk by what needs room, a
    /// broken one by whatever touches it.
    #[must_use]
    pub fn lasts(self, form: Form, moment: Moment) -> bool {
        matches!(self, Fault::NoSpace | Fault::IoError) && !is_act(form) && self.fits(form, moment)
    }
}

/// Whether it takes no room on a disk.
fn is_act(form: Form) -> bool {
    matches!(form, Form::Act | Form::Trial)
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Fault::Kill => "SIGKILL",
            Fault::Torn => "torn write",
            Fault::FailedWrite => "failed write",
            Fault::NoSpace => "ENOSPC",
            Fault::IoError => "EIO",
        })
    }
}

/// One point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Point {
    /// Of which effect.
    pub effect: Effect,
    /// At which of its moments.
    pub moment: Moment,
    /// What strikes there.
    pub fault: Fault,
}

impl std::fmt::Display for Point {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { effect, moment, fault } = self;
        write!(f, "{effect} {moment}: {fault}")
    }
}

impl Point {
    /// The point that [`Point`] displays as `text`.
    #[must_use]
    pub fn named(text: &str) -> Option<Point> {
        all().into_iter().find(|point| point.to_string() == text)
    }
}

/// Every point there is.
#[must_use]
pub fn all() -> Vec<Point> {
    let of_effect = |effect: &Effect| {
        let effect = *effect;
        let moments = effect.form().moments().iter().copied();
        moments.flat_map(move |moment| {
            let fitting = Fault::ALL.into_iter().filter(move |fault| fault.fits(effect.form(), moment));
            fitting.map(move |fault| Point { effect, moment, fault })
        })
    };
    Effect::ALL.iter().filter(is_met).flat_map(of_effect).collect()
}

/// Whether an agent in one process gets there.
fn is_met(effect: &&Effect) -> bool {
    !OF_HOSTS.contains(effect)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_effect_has_points_and_every_point_its_own_name() {
        let points = all();
        for effect in Effect::ALL.iter().filter(is_met) {
            assert!(points.iter().any(|point| point.effect == *effect), "{effect}");
        }
        for point in &points {
            assert_eq!(Point::named(&point.to_string()), Some(*point));
        }
    }
}
