//! An applier as a host's unit starts it, but one whose effects stop where the check `kill` says: it stands there, between
//! two steps, until it is killed or its host loses its power. What it does otherwise is the agent's own.
//!
//! Check and applier speak through files in [`FOLDER`] of the host, because a host without power answers nothing.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use host_state::layout;
use nats_agent::applier::LocalApplier;
use nats_agent::border::{self, FrontUser, RemoteView};
use nats_agent::parts::effects::{Effect, Effects, Faults, Moment};
use nats_agent::roles::{AgentSettings, Applier, Place, ServerView, ServiceUser};
use tokio_util::sync::CancellationToken;

use crate::rig::torn::tear;

/// Where both look for the files, as the host sees it. It is no part of what the agent manages.
pub const FOLDER: &str = "/var/lib/nats-agent-strikes";
/// The point at which to stop: [`Point`] on its first line, and on a second one `torn` when the file that is written there
/// is to lose half of what was written, as it may without power before it was fsynced.
pub const ARMED: &str = "armed";
/// [`ARMED`], once it was reached and the applier stands there.
pub const STRUCK: &str = "struck";
/// While it is there, every point that is reached is added to it, a line each.
pub const REACHED: &str = "reached";
/// See [`ARMED`].
pub const TORN: &str = "torn";
/// Of 256 parts.
const HALF: u8 = 128;

/// A moment of an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    /// Which effect.
    pub effect: Effect,
    /// When within it.
    pub moment: Moment,
}

impl std::fmt::Display for Point {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.effect, self.moment)
    }
}

impl Point {
    /// Every point of every effect.
    pub fn all() -> impl Iterator<Item = Point> {
        let moments = |effect: &Effect| {
            let effect = *effect;
            effect.form().moments().iter().map(move |moment| Point { effect, moment: *moment })
        };
        Effect::ALL.iter().flat_map(moments)
    }

    /// The point that [`Point`] displays as `text`.
    #[must_use]
    pub fn named(text: &str) -> Option<Point> {
        Point::all().find(|point| point.to_string() == text)
    }
}

/// Stops where the files say.
struct Strikes(PathBuf);

impl Strikes {
    fn meet(&self, point: Point, file: Option<&Path>) -> io::Result<()> {
        if let Ok(mut reached) = OpenOptions::new().append(true).open(self.0.join(REACHED)) {
            reached.write_all(format!("{point}\n").as_bytes())?;
        }
        let Ok(armed) = fs::read_to_string(self.0.join(ARMED)) else { return Ok(()) };
        let mut lines = armed.lines();
        if lines.next() != Some(point.to_string().as_str()) {
            return Ok(());
        }
        if let (Some(file), Some(TORN)) = (file, lines.next()) {
            tear(file, HALF, point.effect.form())?;
        }
        fs::rename(self.0.join(ARMED), self.0.join(STRUCK))?;
        loop {
            std::thread::park();
        }
    }
}

impl Faults for Strikes {
    fn reach(&self, effect: Effect, moment: Moment) -> io::Result<()> {
        self.meet(Point { effect, moment }, None)
    }

    fn written(&self, effect: Effect, file: &Path) -> io::Result<()> {
        self.meet(Point { effect, moment: Moment::Written }, Some(file))
    }
}

/// Runs the applier until it is killed, with the settings of its unit.
///
/// # Errors
/// When it does not open, or the front cannot be let in.
pub fn serve() -> Result<()> {
    let listen: SocketAddr = std::env::var("NATS_AGENT_LISTEN").context("the unit says where")?.parse()?;
    let (uid, gid) = user("nats")?;
    let settings = AgentSettings {
        state_dir: "/var/lib/nats-agent".into(),
        listen,
        nats_server: None,
        sockets: "/run/nats-agent".into(),
        downloads: layout::HOST_DOWNLOADS.into(),
        place: Place::Host(ServiceUser { uid, gid }),
    };
    let (uid, gid) = user("nats-agent")?;
    let front = FrontUser::Other { uid, gid };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.context("start a runtime")?.block_on(async {
        let view = Arc::new(RemoteView::default());
        let effects = Effects::with_faults(Arc::new(Strikes(FOLDER.into())));
        let looks = Arc::clone(&view) as Arc<dyn ServerView>;
        let applier = LocalApplier::open_with(settings.clone(), looks, effects)?;
        let socket = border::open(&settings.sockets, front).await?;
        notify_ready()?;
        border::serve(socket, front, applier as Arc<dyn Applier>, view, CancellationToken::new()).await;
        Ok(())
    })
}

/// Ids of user and group. Source: passwd(5).
fn user(name: &str) -> Result<(u32, u32)> {
    let text = fs::read_to_string("/etc/passwd").context("read `/etc/passwd`")?;
    let line = text.lines().find(|line| line.split(':').next() == Some(name));
    let mut fields = line.with_context(|| format!("there is no user `{name}`"))?.split(':').skip(2);
    let mut number = || fields.next().unwrap_or_default().parse().with_context(|| format!("ids of `{name}`"));
    Ok((number()?, number()?))
}

/// Source: sd_notify(3).
fn notify_ready() -> Result<()> {
    let socket = std::env::var_os("NOTIFY_SOCKET").context("the unit is of type `notify`")?;
    let sender = std::os::unix::net::UnixDatagram::unbound().context("make a socket")?;
    sender.send_to(b"READY=1", socket).context("tell systemd").map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_is_found_by_its_name() {
        for point in Point::all() {
            assert_eq!(Point::named(&point.to_string()), Some(point));
        }
        assert_eq!(Point::named("no-such before"), None);
    }
}
