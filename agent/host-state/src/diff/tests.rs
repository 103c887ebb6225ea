//! What people are told of some differences, word for word.

use nats_config::SettingDifference;

use super::*;

fn told(difference: &Difference) -> String {
    match difference.told() {
        Ok(drift) => drift.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
        Err(finding) => format!("[{}] {}", finding.item, finding.problem),
    }
}

fn claim(problem: ClaimProblem) -> Difference {
    Difference::Claim { account: "AORDERS".to_owned(), name: "orders".to_owned(), problem }
}

#[test]
fn drift_names_setting_found_and_desired_and_findings_their_problem() {
    let sum = |digit: &str| digit.repeat(64);
    let setting = SettingDifference {
        setting: "max_payload".to_owned(),
        desired: Some("1048576".to_owned()),
        found: Some("2048".to_owned()),
    };
    let file = |file: &str| file.to_owned();
    let cases = [
        (
            Difference::ConfigurationEdited { settings: vec![setting] },
            "configuration `max_payload` is `2048`, should be `1048576`",
        ),
        (
            Difference::FileMissing { file: file("server.pem") },
            "certificate `server.pem` is missing, should be `the file of the rendition`",
        ),
        (
            Difference::FileChanged { file: file("server-key.pem"), desired: sum("a"), found: sum("b") },
            "key `server-key.pem` is `sha256 bbbbbbbbbbbb`, should be `sha256 aaaaaaaaaaaa`",
        ),
        (
            Difference::FileMode { file: file("server-key.pem"), desired: 0o600, found: 0o644 },
            "key `server-key.pem` is `mode 0644`, should be `mode 0600`",
        ),
        (
            Difference::RunningOther {
                desired: format!("sha256:{}", sum("a")),
                found: format!("sha256:{}", sum("b")),
            },
            "running `config_digest` is `sha256 bbbbbbbbbbbb`, should be `sha256 aaaaaaaaaaaa`",
        ),
        (
            Difference::ProcessStopped { last_exit: Some("signal 9".to_owned()) },
            "process is `stopped (signal 9)`, should be `running`",
        ),
        (
            Difference::StoreUnmarked(StoreUnmarked::OtherMode),
            "store `nats-agent-store.json` is `of other permission bits`, should be `this host's`",
        ),
        (
            Difference::StoreOwner { desired: Owner { uid: 990, gid: 990 }, found: Owner { uid: 0, gid: 0 } },
            "store `owner` is `user 0, group 0`, should be `user 990, group 990`",
        ),
        (
            Difference::StoreDanger(StoreDanger::DataOwner {
                directory: "/data/jetstream".to_owned(),
                desired: 990,
                found: 1001,
            }),
            "[store] the data in `/data/jetstream` belongs to user 1001, nats-server runs as user 990",
        ),
        (
            Difference::Unit(UnitFault::Missing),
            "unit `nats-server.service.d/50-nats-agent.conf` is missing, should be `the agent's drop-in`",
        ),
        (
            Difference::Unit(UnitFault::Edited {
                settings: vec![SettingDifference {
                    setting: "LimitNOFILE".to_owned(),
                    desired: Some("800000".to_owned()),
                    found: Some("1024".to_owned()),
                }],
            }),
            "unit `LimitNOFILE` is `1024`, should be `800000`",
        ),
        (
            Difference::Unit(UnitFault::Masked),
            "unit `nats-server.service` is `masked`, should be `not masked`",
        ),
        (
            Difference::Unit(UnitFault::Foreign { path: "/etc/x.conf".to_owned() }),
            "[unit] `/etc/x.conf` changes `nats-server.service` and is not the agent's",
        ),
        (Difference::ProcessRunning { pid: 7 }, "process is `running (pid 7)`, should be `held`"),
        (claim(ClaimProblem::Missing), "claims `orders` is missing, should be `known to the server`"),
        (claim(ClaimProblem::Alive), "claims `orders` is `alive`, should be `deleted`"),
        (
            claim(ClaimProblem::Older { desired: 9, found: Some(8) }),
            "claims `orders` is `issued at 8`, should be `issued at 9`",
        ),
        (claim(ClaimProblem::Unknown), "[claims] the server knows account `AORDERS`, which nobody declares"),
        (
            Difference::ChangeBlocked { settings: vec!["listen".to_owned()] },
            "[configuration] `listen` cannot change: it takes a restart, and the server could not be started again",
        ),
        (
            Difference::StoreDanger(StoreDanger::Lineage {
                desired: "l1".to_owned(),
                found: "l2".to_owned(),
            }),
            "[store] the store belongs to meta group `l2`, the release is into `l1`",
        ),
        (
            Difference::StoreDanger(StoreDanger::Another {
                field: "cluster",
                desired: "east".to_owned(),
                found: "west".to_owned(),
            }),
            "[store] the store belongs to cluster `west`, not to `east`",
        ),
        (
            Difference::FirewallOutdated {
                ports: vec![PortChange {
                    port: "client".to_owned(),
                    desired: Some("port 4222 from 10.0.0.0/8".to_owned()),
                    found: None,
                }],
            },
            "firewall `client` is `open to everybody`, should be `port 4222 from 10.0.0.0/8`",
        ),
        (
            Difference::FirewallTable {
                items: vec![TableDifference {
                    place: "chain confirmed".to_owned(),
                    desired: None,
                    found: Some("accept".to_owned()),
                }],
            },
            "firewall `chain confirmed` is `accept`, should not be there",
        ),
        (
            Difference::FirewallForeign(ForeignDrop {
                family: "inet".to_owned(),
                table: "hostfw".to_owned(),
                chain: "input".to_owned(),
                what: "policy drop".to_owned(),
                ports: [(crate::firewall::ManagedPort::Client, 4222)].into(),
            }),
            "[firewall] chain `input` of table `inet hostfw` drops what is allowed here on port 4222 (client): \
             `policy drop`",
        ),
        (
            Difference::RunningSilent { reason: "timed out".to_owned() },
            "[running] nats-server runs and does not answer on its monitoring port: timed out",
        ),
    ];
    for (difference, text) in cases {
        assert_eq!(told(&difference), text);
    }
}
