//! The program itself: started bare, claimed, asked, stopped.
#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up must fail")]

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use identity::{Authority, ClientIdentity, Generations, HostNames, Role, RootKey};
use nats_agent_api::{AgentClient, ClaimBinding, ConnectError, Expected, Timeouts, claim};
use time::OffsetDateTime;
use zeroize::Zeroizing;

const HOUR: Duration = Duration::from_secs(3600);
const CLAIM_ID: &str = "00112233445566778899aabbccddeeff";
/// Standard base64 of the bytes 0 to 31.
const ROOT_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

fn authority() -> Authority {
    let root: RootKey = ROOT_KEY.parse().unwrap();
    Authority::derive(&root, "acme".parse().unwrap(), Generations::default()).unwrap()
}

fn operator() -> ClientIdentity {
    let seed = Zeroizing::new([9; 32]);
    authority().client_certificate(&Role::Operator, &seed, OffsetDateTime::now_utc(), HOUR).unwrap()
}

fn agent() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nats-agent"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("NATS_")) {
        command.env_remove(name);
    }
    command
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn start(folder: &Path, listen: &str, more: &[&str]) -> Running {
        let log = std::fs::File::options().create(true).append(true).open(folder.join("log")).unwrap();
        let state_dir = folder.join("state");
        let mut command = agent();
        command
            .args(["--log-format", "json", "serve", "--listen", listen, "--state-dir"])
            .arg(state_dir)
            .args(more);
        Running(command.stdin(Stdio::null()).stderr(log).spawn().unwrap())
    }

    /// Asks it to end, and how it did.
    fn stop(mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "it did not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn report(folder: &Path, arguments: &[&str]) -> Output {
    agent().args(arguments).arg("--state-dir").arg(folder.join("state")).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

async fn claim_soon(address: &str) {
    let enrollment = authority().enrollment("east-1".parse().unwrap(), 1);
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let identity = operator();
        let claimed = claim(address, &identity, &enrollment, Duration::from_secs(5), |offer| {
            let ips = [address.split(':').next().unwrap().parse()?].into();
            let names = HostNames { host: "east-1".parse()?, dns: [].into(), ips };
            let issuer =
                authority().issuer(&offer.host_keys, &names, OffsetDateTime::now_utc(), 24 * HOUR)?;
            Ok(ClaimBinding { trust: authority().trust(), issuer, claim_id: CLAIM_ID.to_owned(), names })
        });
        match claimed.await {
            Ok(_) => return,
            Err(error) if error.is_temporary() && Instant::now() < deadline => {}
            Err(error) => panic!("{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn connect_soon(address: &str) -> AgentClient {
    let deadline = Instant::now() + Duration::from_secs(20);
    let host_ca = authority().trust().host_ca_bundle();
    loop {
        let connected =
            AgentClient::connect(address, &operator(), &host_ca, Expected::default(), Timeouts::default())
                .await;
        match connected {
            Ok(client) => return client,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bare_host_is_enrolled_claimed_asked_and_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let listen = "127.73.1.1:8442";
    let running = Running::start(folder.path(), listen, &[]);

    // The enrolment comes later, as local root gives it.
    let state_dir = folder.path().join("state");
    let deadline = Instant::now() + Duration::from_secs(20);
    while !state_dir.join("agent.sock").exists() {
        assert!(Instant::now() < deadline, "{}", std::fs::read_to_string(folder.path().join("log")).unwrap());
        std::thread::sleep(Duration::from_millis(20));
    }
    let enrollment = authority().enrollment("east-1".parse().unwrap(), 1).to_text();
    let enroll = |enrollment: &str| {
        let mut command = agent();
        command.arg("enroll").arg("--state-dir").arg(&state_dir);
        let mut enroll = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        enroll.stdin.take().unwrap().write_all(enrollment.as_bytes()).unwrap();
        let output = enroll.wait_with_output().unwrap();
        (output.status.code(), text(&output.stdout))
    };
    let opened = "host `east-1` may be claimed by authority `acme` (enrolment 1) for one hour\n";
    assert_eq!(enroll(&enrollment), (Some(0), opened.to_owned()));

    claim_soon(listen).await;
    // Configuration management that runs again finds its work done; another enrolment opens nothing.
    let again =
        "host `east-1` was claimed by authority `acme` with this enrolment (1) before; nothing to do\n";
    assert_eq!(enroll(&enrollment), (Some(0), again.to_owned()));
    let next = authority().enrollment("east-1".parse().unwrap(), 2).to_text();
    assert_eq!(enroll(&next), (Some(1), String::new()));
    let client = connect_soon(listen).await;
    let seen = client.observe().await.unwrap().report;
    assert_eq!(seen.claim.unwrap().claim_id, CLAIM_ID);

    let local = report(folder.path(), &["status"]);
    assert!(local.status.success(), "{}", text(&local.stderr));
    assert!(
        text(&local.stdout).starts_with("host          east-1\nauthority     O"),
        "{}",
        text(&local.stdout)
    );
    let json: serde_json::Value =
        serde_json::from_slice(&report(folder.path(), &["status", "--json"]).stdout).unwrap();
    assert_eq!(json["claim"]["host"], "east-1");
    let diff = report(folder.path(), &["diff"]);
    assert_eq!((diff.status.code(), text(&diff.stdout).as_str()), (Some(0), "nothing differs\n"));

    let remote = agent()
        .args(["status", "--json", "--agent", listen, "--authority", "acme"])
        .env("NATS_ROOT_KEY", ROOT_KEY)
        .output()
        .unwrap();
    assert!(remote.status.success(), "{}", text(&remote.stderr));

    drop(client);
    assert_eq!(running.stop(), Some(0));
    assert!(!state_dir.join("agent.sock").exists(), "the socket goes with the agent");
    let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(log.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{log}");
    assert!(!log.contains(enrollment.split('.').nth(1).unwrap()), "the enrolment is in the log");

    let gone = report(folder.path(), &["status"]);
    assert_eq!(gone.status.code(), Some(1));
    assert!(
        text(&gone.stderr).starts_with("nats-agent: error: no agent answers at `"),
        "{}",
        text(&gone.stderr)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_command_line_starts_a_host_for_the_first_time_and_ever_after() {
    let folder = tempfile::tempdir().unwrap();
    let listen = "127.73.1.2:8442";
    let enrollment = folder.path().join("enrollment");
    std::fs::write(&enrollment, authority().enrollment("east-1".parse().unwrap(), 1).to_text().as_bytes())
        .unwrap();
    let more = ["--enrollment", enrollment.to_str().unwrap(), "--host", "east-1"];

    let first = Running::start(folder.path(), listen, &more);
    claim_soon(listen).await;
    connect_soon(listen).await.observe().await.unwrap();
    assert_eq!(first.stop(), Some(0));

    let again = Running::start(folder.path(), listen, &more);
    connect_soon(listen).await.observe().await.unwrap();
    let mut second = agent();
    second.args(["serve", "--listen", "127.73.1.3:8442", "--state-dir"]).arg(folder.path().join("state"));
    let second = second.output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(
        text(&second.stderr).contains("another agent uses the state directory"),
        "{}",
        text(&second.stderr)
    );
    assert_eq!(again.stop(), Some(0));
}

#[test]
fn an_enrolment_for_another_host_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let enrollment = folder.path().join("enrollment");
    std::fs::write(&enrollment, authority().enrollment("east-1".parse().unwrap(), 1).to_text().as_bytes())
        .unwrap();
    let mut command = agent();
    command.args(["serve", "--listen", "127.73.1.4:8442", "--host", "east-2", "--state-dir"]);
    let refused =
        command.arg(folder.path().join("state")).arg("--enrollment").arg(&enrollment).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(
        text(&refused.stderr),
        "nats-agent: error: the enrolment is for host `east-1`, this is `east-2`\n"
    );
}

#[test]
fn a_root_key_that_others_can_read_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("root-key");
    std::fs::write(&key, ROOT_KEY).unwrap();
    let run = || {
        let mut command = agent();
        command.args([
            "creds",
            "--authority",
            "acme",
            "--account",
            "orders",
            "--user",
            "service",
            "--root-key-file",
        ]);
        command.arg(&key).output().unwrap()
    };
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let refused = text(&run().stderr);
    assert!(
        refused.contains("has mode 0644: others than its owner may read it; `chmod 600` it"),
        "{refused}"
    );
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let minted = run();
    assert!(minted.status.success(), "{}", text(&minted.stderr));
    text(&minted.stdout).parse::<identity::Credentials>().unwrap();
}

#[tokio::test]
async fn nobody_is_served_by_a_host_without_enrolment() {
    let folder = tempfile::tempdir().unwrap();
    let listen = "127.73.1.5:8442";
    let running = Running::start(folder.path(), listen, &[]);
    let deadline = Instant::now() + Duration::from_secs(20);
    let host_ca = authority().trust().host_ca_bundle();
    loop {
        let error =
            AgentClient::connect(listen, &operator(), &host_ca, Expected::default(), Timeouts::default())
                .await
                .unwrap_err();
        match error {
            ConnectError::Closed { .. } => break,
            error => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(running.stop(), Some(0));
}
