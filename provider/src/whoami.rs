//! Who writes: the name that a losing writer or a waiting apply is shown.

/// `user@machine (pid n)` of this process, as far as the environment tells; no secret.
#[must_use]
pub fn whoami() -> String {
    let named = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    let user = named("USER").or_else(|| named("LOGNAME")).unwrap_or_else(|| "unknown".to_owned());
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let machine = machine.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    let machine = machine.or_else(|| named("HOSTNAME")).unwrap_or_else(|| "unknown".to_owned());
    format!("{user}@{machine} (pid {})", std::process::id())
}
