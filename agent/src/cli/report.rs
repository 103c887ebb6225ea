//! A report as text for people. Pure; the JSON form of `--json` is the report itself.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use host_state::report::{CertificateStatus, FirewallStatus, MeshRow, Report, RunStatus, TrialStatus};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Width of the column of names.
const NAMES: usize = 14;

/// The whole report, one line a fact.
pub(crate) fn status(report: &Report) -> String {
    let Report {
        agent_version,
        claim,
        sections,
        rendition,
        run,
        meta_lineage,
        formed,
        server,
        drift,
        findings,
        mesh,
        firewall,
        certificates,
        audit,
        observed_at,
    } = report;
    let mut text = String::new();
    match claim {
        Some(claim) => {
            line(&mut text, "host", &claim.host);
            line(&mut text, "authority", &claim.authority);
            line(&mut text, "claim", &format!("{} (enrolment {})", claim.claim_id, claim.generation));
        }
        None => line(&mut text, "host", "unclaimed"),
    }
    line(&mut text, "agent", agent_version);
    line(&mut text, "state", run_text(*run));
    if let Some(server) = server {
        let said =
            format!("{}, process {}, since {}", server.version, server.pid, time_text(server.started_at));
        line(&mut text, "nats-server", &said);
        line(&mut text, "digest", server.digest.as_deref().unwrap_or("the server did not say"));
    }
    if let Some(lineage) = meta_lineage {
        let formed = if *formed { "formed" } else { "not formed yet" };
        line(&mut text, "meta lineage", &format!("{lineage} ({formed})"));
    }
    if let Some(rendition) = rendition {
        line(&mut text, "rendition", &rendition.to_string());
    }
    if let Some(mesh) = mesh {
        line(&mut text, "mesh", &mesh_text(mesh));
    }
    for (kind, section) in sections {
        let confirmed = match section.confirmed {
            Some(confirmed) if confirmed == section.generation => "confirmed".to_owned(),
            Some(confirmed) => format!("confirmed is {confirmed}"),
            None => "not confirmed".to_owned(),
        };
        let said = format!(
            "generation {}, {confirmed}, of `{}`, written by `{}`",
            section.generation, section.owner, section.writer
        );
        line(&mut text, kind.as_str(), &said);
    }
    if let Some(firewall) = firewall {
        line(&mut text, "firewall", &firewall_text(firewall));
    }
    for (name, certificate) in certificates {
        line(&mut text, name, &certificate_text(certificate));
    }
    line(
        &mut text,
        "drift",
        &count(drift.len(), "difference that apply removes", "differences that apply removes"),
    );
    line(&mut text, "findings", &count(findings.len(), "thing to look at", "things to look at"));
    let audit = audit.as_ref().map(|head| format!("record {}, {}", head.seq, head.hash));
    line(&mut text, "audit", audit.as_deref().unwrap_or("no record that can be read"));
    line(&mut text, "observed", &time_text(*observed_at));
    text.truncate(text.trim_end().len());
    if !(drift.is_empty() && findings.is_empty()) {
        text += "\n\n";
        text += &differences(report);
    }
    text
}

/// What differs, one line each; says so when nothing does.
pub(crate) fn differences(report: &Report) -> String {
    let drift = report.drift.iter().map(|drift| format!("drift: {drift}"));
    let findings = report
        .findings
        .iter()
        .map(|finding| format!("finding: {}: {}; {}", finding.item, finding.problem, finding.remedy));
    let lines: Vec<String> = drift.chain(findings).collect();
    if lines.is_empty() { "nothing differs".to_owned() } else { lines.join("\n") }
}

fn line(text: &mut String, name: &str, value: &str) {
    writeln!(text, "{name:NAMES$}{value}").expect("writing to a string cannot fail");
}

fn run_text(run: RunStatus) -> &'static str {
    match run {
        RunStatus::Empty => "no configuration yet",
        RunStatus::Held => "staged and held",
        RunStatus::Running => "running",
        RunStatus::Stopped => "released, but not running",
    }
}

fn mesh_text(mesh: &MeshRow) -> String {
    let MeshRow { system_missing, probe_missing, probed } = mesh;
    let missing = |hosts: &BTreeSet<String>, account: &str| {
        let hosts: Vec<String> = hosts.iter().map(|host| format!("`{host}`")).collect();
        (!hosts.is_empty()).then(|| format!("does not reach {} in the {account} account", hosts.join(", ")))
    };
    let told = [missing(system_missing, "system"), missing(probe_missing, "probe")];
    let told: Vec<String> = told.into_iter().flatten().collect();
    if told.is_empty() { format!("reaches all {probed} others") } else { told.join("; ") }
}

fn certificate_text(certificate: &CertificateStatus) -> String {
    let CertificateStatus { serial, not_before: _, not_after, renew_at } = certificate;
    format!("serial {serial}, until {}, due for renewal {}", time_text(*not_after), time_text(*renew_at))
}

fn count(number: usize, one: &str, more: &str) -> String {
    match number {
        0 => "none".to_owned(),
        1 => format!("1 {one}"),
        _ => format!("{number} {more}"),
    }
}

/// RFC 3339 in UTC, or the bare seconds when they are no date.
fn time_text(unix: i64) -> String {
    let date = OffsetDateTime::from_unix_timestamp(unix).ok().and_then(|date| date.format(&Rfc3339).ok());
    date.unwrap_or_else(|| unix.to_string())
}

fn firewall_text(firewall: &FirewallStatus) -> String {
    let FirewallStatus { confirmed, trial } = firewall;
    let mut text = match confirmed {
        Some(hash) => format!("sha256 {}", &hash.as_str()[..12]),
        None => "nothing confirmed yet, so nothing is denied".to_owned(),
    };
    if let Some(TrialStatus { id, remaining_ms }) = trial {
        text.push_str(&format!("; on trial as {id} for another {} s", remaining_ms.div_ceil(1000)));
    }
    text
}

#[cfg(test)]
mod tests {
    use host_state::SectionKind;
    use host_state::document::ContentHash;
    use host_state::drift::{Drift, Finding};
    use host_state::report::{ClaimStatus, SectionStatus, ServerStatus};

    use super::*;

    fn report() -> Report {
        let section = |generation, confirmed| SectionStatus {
            owner: "nats_cluster/east".to_owned(),
            generation,
            content: ContentHash::of("x"),
            writer: "ci@runner-7".to_owned(),
            confirmed,
        };
        let day = 86_400;
        Report {
            agent_version: "0.1.0".to_owned(),
            claim: Some(ClaimStatus {
                host: "east-1".to_owned(),
                authority: "OABC".to_owned(),
                generation: 1,
                claim_id: "00112233445566778899aabbccddeeff".to_owned(),
                host_keys: serde_json::Value::Null,
            }),
            sections: [(SectionKind::Cluster, section(3, Some(3))), (SectionKind::Claims, section(9, None))]
                .into(),
            rendition: Some(8),
            run: RunStatus::Running,
            meta_lineage: Some("aa".to_owned()),
            formed: true,
            server: Some(ServerStatus {
                pid: 4711,
                version: "2.15.1".to_owned(),
                digest: Some("sha256:ab".to_owned()),
                started_at: 20_000 * day,
            }),
            drift: vec![Drift {
                item: "configuration".to_owned(),
                setting: Some("max_payload".to_owned()),
                desired: Some("1048576".to_owned()),
                found: Some("2097152".to_owned()),
            }],
            findings: vec![Finding {
                item: "store".to_owned(),
                problem: "it is not mounted".to_owned(),
                remedy: "mount it".to_owned(),
            }],
            mesh: Some(MeshRow { probed: 8, ..MeshRow::default() }),
            certificates: [(
                "leaf".to_owned(),
                CertificateStatus {
                    serial: "0a".to_owned(),
                    not_before: 0,
                    not_after: 20_030 * day,
                    renew_at: 20_020 * day,
                },
            )]
            .into(),
            audit: Some(host_state::audit::Head { seq: 41, hash: host_state::audit::RecordHash::none() }),
            firewall: Some(FirewallStatus {
                confirmed: Some(ContentHash::of("rules")),
                trial: Some(TrialStatus { id: "7f".to_owned(), remaining_ms: 41_500 }),
            }),
            observed_at: 20_001 * day,
        }
    }

    #[test]
    fn everything_is_said_once() {
        let expected = "\
host          east-1
authority     OABC
claim         00112233445566778899aabbccddeeff (enrolment 1)
agent         0.1.0
state         running
nats-server   2.15.1, process 4711, since 2024-10-04T00:00:00Z
digest        sha256:ab
meta lineage  aa (formed)
rendition     8
mesh          reaches all 8 others
cluster       generation 3, confirmed, of `nats_cluster/east`, written by `ci@runner-7`
claims        generation 9, not confirmed, of `nats_cluster/east`, written by `ci@runner-7`
firewall      sha256 6c621d1a0513; on trial as 7f for another 42 s
leaf          serial 0a, until 2024-11-03T00:00:00Z, due for renewal 2024-10-24T00:00:00Z
drift         1 difference that apply removes
findings      1 thing to look at
audit         record 41, 0000000000000000000000000000000000000000000000000000000000000000
observed      2024-10-05T00:00:00Z

drift: configuration `max_payload` is `2097152`, should be `1048576`
finding: store: it is not mounted; mount it";
        assert_eq!(status(&report()), expected);
    }

    #[test]
    fn a_hole_in_the_mesh_is_named() {
        let hosts = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let row = MeshRow {
            system_missing: hosts(&["west-1"]),
            probe_missing: hosts(&["east-2", "west-1"]),
            probed: 8,
        };
        assert_eq!(
            mesh_text(&row),
            "does not reach `west-1` in the system account; does not reach `east-2`, `west-1` in the probe account"
        );
    }

    #[test]
    fn differences_are_a_line_each() {
        let mut seen = report();
        let expected = "\
drift: configuration `max_payload` is `2097152`, should be `1048576`
finding: store: it is not mounted; mount it";
        assert_eq!(differences(&seen), expected);
        (seen.drift, seen.findings) = (Vec::new(), Vec::new());
        assert_eq!(differences(&seen), "nothing differs");
    }
}
