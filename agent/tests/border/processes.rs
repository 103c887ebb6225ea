//! The two real processes, killed and stopped, with a nats-server that outlives both.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use host_state::report::Outcome;
use identity::Role;
use nats_agent::roles::{Applier, LeaseAction};
use nats_agent::testing::{LEASE, authority};
use nats_agent_api::order::{self, ApplyMode, ApplyOrder, LeaseOrder};
use nats_agent_api::{AgentClient, ClaimBinding, Expected, Timeouts, claim};
use rustix::process::{Pid, Signal, kill_process};
use time::OffsetDateTime;

use crate::world::{ApplierSide, World};
use crate::{rig, scripted};

/// How long what must happen soon may take.
const SOON: Duration = Duration::from_secs(20);

/// One of the two.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn agent() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nats-agent"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("NATS_")) {
        command.env_remove(name);
    }
    command
}

impl Process {
    fn start(world: &World, log: &Path, command: &str, more: &[&str]) -> Process {
        Process::started_by(&[], world, log, command, more)
    }

    /// As systemd starts it, with these variables.
    fn started_by(
        systemd: &[(&str, &str)],
        world: &World,
        log: &Path,
        command: &str,
        more: &[&str],
    ) -> Process {
        let log = std::fs::File::options().create(true).append(true).open(log).unwrap();
        let mut agent = agent();
        agent.envs(systemd.iter().copied());
        agent.args(["--log-format", "json", command, "--listen", &world.listen().to_string()]);
        agent.arg("--sockets").arg(world.sockets()).arg("--downloads").arg(world.downloads()).args(more);
        Process(agent.stdin(Stdio::null()).stderr(log).spawn().unwrap())
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    /// Waits for its end and says how.
    fn ended(mut self) -> Option<i32> {
        let deadline = Instant::now() + SOON;
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "it did not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Both processes of one host, and where they log.
struct Host {
    world: World,
    log: PathBuf,
}

impl Host {
    fn applier(&self) -> Process {
        let binary = rig::binary();
        let state = self.world.state();
        let (binary, state) = (binary.to_str().unwrap(), state.to_str().unwrap());
        let more = ["--place", "process", "--nats-server", binary, "--state-dir", state];
        Process::start(&self.world, &self.log, "applier", &more)
    }

    fn front(&self) -> Process {
        let sockets = self.world.sockets();
        let more = ["--front-sockets", sockets.to_str().unwrap()];
        Process::start(&self.world, &self.log, "front", &more)
    }

    fn ask(&self, arguments: &[&str]) -> Output {
        agent().args(arguments).arg("--front-sockets").arg(self.world.sockets()).output().unwrap()
    }

    /// A caller, as soon as it is served.
    async fn client(&self) -> AgentClient {
        let (address, operator) =
            (self.world.listen().to_string(), scripted::caller(&authority(), &Role::Operator));
        let (host_ca, deadline) = (authority().trust().host_ca_bundle(), Instant::now() + SOON);
        loop {
            let (expected, timeouts) = (Expected::default(), Timeouts::default());
            match AgentClient::connect(&address, &operator, &host_ca, expected, timeouts).await {
                Ok(client) => return client,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn claim(&self) {
        let (address, operator) =
            (self.world.listen().to_string(), scripted::caller(&authority(), &Role::Operator));
        let (enrollment, deadline) =
            (authority().enrollment("east-1".parse().unwrap(), 1), Instant::now() + SOON);
        loop {
            let claimed = claim(&address, &operator, &enrollment, Duration::from_secs(5), |offer| {
                let (names, now) = (self.world.author.names(), OffsetDateTime::now_utc());
                let issuer = authority().issuer(&offer.host_keys, &names, now, 24 * scripted::HOUR)?;
                let claim_id = self.world.author.claim_id.clone();
                Ok(ClaimBinding { trust: authority().trust(), issuer, claim_id, names })
            });
            match claimed.await {
                Ok(_) => return,
                Err(error) => assert!(error.is_temporary() && Instant::now() < deadline, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn roll(&mut self, client: &AgentClient) {
        let nats_agent::roles::LeaseOrder { lease_id, holder, action: _, ttl_ms, signature } =
            self.world.author.lease(LEASE, LeaseAction::Acquire);
        let action = order::LeaseAction::Acquire;
        let lease = LeaseOrder { lease_id, holder, action, ttl_ms, signature };
        assert!(client.lease(lease).await.unwrap().granted);
        let claim = client.observe().await.unwrap().report.claim.unwrap();
        let keys = serde_json::from_value(claim.host_keys).unwrap();
        let section = self.world.author.cluster(&keys, |_| {});
        let order = ApplyOrder { sections: vec![section], mode: ApplyMode::Roll, lease_id: LEASE.to_owned() };
        let (outcome, report) = client.apply(order).await.unwrap().finish(|_| ()).await.unwrap();
        assert_eq!(outcome, Outcome::Confirmed, "{report:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_server_outlives_both_processes_and_is_taken_over() {
    let world = World::new();
    let mut host = Host { log: world.state().with_file_name("log"), world };
    let (applier, front) = (host.applier(), host.front());
    host.claim().await;
    let client = host.client().await;
    host.roll(&client).await;
    let pid = rig::server_in(&host.world.state()).unwrap();
    let serves = async |client: &AgentClient| client.observe().await.unwrap().report.server.map(|it| it.pid);
    assert_eq!(serves(&client).await, Some(pid));

    // Both at once, without a word.
    applier.signal(Signal::KILL);
    front.signal(Signal::KILL);
    assert_eq!((applier.ended(), front.ended()), (None, None));
    assert_eq!(rig::server_in(&host.world.state()), Some(pid));
    let (applier, front) = (host.applier(), host.front());
    assert_eq!(serves(&host.client().await).await, Some(pid));

    // A front without its applier ends with an error.
    applier.signal(Signal::KILL);
    assert_eq!((applier.ended(), front.ended()), (None, Some(1)));
    let (applier, front) = (host.applier(), host.front());
    assert_eq!(serves(&host.client().await).await, Some(pid));
    let status = host.ask(&["status", "--json"]);
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["server"]["pid"], pid);

    // In order, one after the other; a second one of each is turned away.
    assert_eq!(host.applier().ended(), Some(1), "the state directory is in use");
    front.signal(Signal::TERM);
    assert_eq!(front.ended(), Some(0));
    applier.signal(Signal::HUP);
    applier.signal(Signal::TERM);
    assert_eq!(applier.ended(), Some(0));
    assert_eq!(rig::server_in(&host.world.state()), Some(pid));
    let log = std::fs::read_to_string(&host.log).unwrap();
    let is_told = |line: &str| {
        line.starts_with("nats-agent: error: ") || serde_json::from_str::<serde_json::Value>(line).is_ok()
    };
    assert!(log.lines().all(is_told), "{log}");
    let secrets = [host.world.author.enrollment().as_str()[20..].to_owned(), "PRIVATE KEY".to_owned()];
    assert!(secrets.iter().all(|secret| !log.contains(secret.as_str())), "a secret is in the log");
}

#[test]
fn a_front_that_finds_no_applier_does_not_wait_for_ever() {
    let world = World::new();
    let host = Host { log: world.state().with_file_name("log"), world };
    let front = host.front();
    front.signal(Signal::TERM);
    // Asked to end before it could take signals, or after: it ends either way.
    assert!(matches!(front.ended(), Some(0) | None));
    let status = host.ask(&["status"]);
    assert_eq!(status.status.code(), Some(1));
    let text = String::from_utf8(status.stderr).unwrap();
    assert!(text.starts_with("nats-agent: error: no agent answers at `"), "{text}");
}

/// What a process tells systemd.
struct Notified(UnixDatagram);

impl Notified {
    fn listen(path: &Path) -> Notified {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        Notified(socket)
    }

    /// The next message, one `NAME=value` a line.
    fn next(&self) -> String {
        let mut message = [0; 4096];
        let length = self.0.recv(&mut message).unwrap();
        String::from_utf8(message[..length].to_vec()).unwrap()
    }

    /// Waits for a message that holds `text`, and says how many before it fed the watchdog.
    fn until(&self, text: &str) -> usize {
        let (mut fed, deadline) = (0, Instant::now() + SOON);
        loop {
            let message = self.next();
            if message.contains(text) {
                return fed;
            }
            assert!(Instant::now() < deadline, "never told: {text}");
            fed += usize::from(message.contains("WATCHDOG=1"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watchdog_is_fed_only_while_the_applier_lives() {
    let world = World::new();
    let (log, path) = (world.state().with_file_name("log"), world.sockets().join("notify"));
    let notified = Notified::listen(&path);
    let systemd = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "300000")];

    let host = scripted::Scripted::new(33);
    let served = Arc::clone(&host) as Arc<dyn Applier>;
    let side = ApplierSide::open(&world.sockets(), served, Arc::default()).await;
    let sockets = world.sockets();
    let own = ["--front-sockets", sockets.to_str().unwrap()];
    let front = Process::started_by(&systemd, &world, &log, "front", &own);
    assert_eq!(notified.next().trim(), "READY=1");
    std::net::TcpStream::connect(world.listen()).unwrap();
    let first = notified.next();
    assert_eq!(first.trim(), "WATCHDOG=1\nSTATUS=not claimed; `nats-agent enroll` opens the door");
    host.claimed_by(&authority(), "east-1", &world.address.to_string());
    notified.until("STATUS=host `east-1` of authority `acme`");
    *host.stuck.lock().unwrap() = Some("the loop stands still".to_owned());
    notified.until("STATUS=not well: the applier: the loop stands still");
    tokio::time::sleep(Duration::from_millis(500)).await;
    *host.stuck.lock().unwrap() = None;
    assert_eq!(notified.until("WATCHDOG=1\nSTATUS=host `east-1`"), 0, "it starved meanwhile");
    notified.until("WATCHDOG=1");
    front.signal(Signal::TERM);
    notified.until("STOPPING=1");
    assert_eq!(front.ended(), Some(0));
    side.end().await;

    let state = world.state();
    let own = ["--place", "process", "--state-dir", state.to_str().unwrap()];
    let applier = Process::started_by(&systemd, &world, &log, "applier", &own);
    assert_eq!(notified.next().trim(), "READY=1");
    assert!(world.sockets().join("applier.sock").exists());
    notified.until("STATUS=waiting for authority `acme` to claim host `east-1`");
    notified.until("WATCHDOG=1");
    applier.signal(Signal::TERM);
    notified.until("STOPPING=1");
    assert_eq!(applier.ended(), Some(0));
}
