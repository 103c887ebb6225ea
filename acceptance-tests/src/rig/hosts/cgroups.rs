//! Control groups: each host has its own in every hierarchy. In one for all, the systemd of each host would take the
//! groups of the others' units for its own, and remove them.

use std::process::Command;

use super::execute::run;

/// Beginning of the groups' names.
const PREFIX: &str = "nats-hosts-";

/// Shell that goes into the group called `$1` in every hierarchy and becomes the program that follows.
const ENTER: &str = r#"
group=$1
shift
while IFS=: read -r _ controller path; do
    case $controller in
    '') root=/sys/fs/cgroup/unified; [ -d "$root" ] || root=/sys/fs/cgroup ;;
    # Takes nobody before it is told of processors.
    cpuset) continue ;;
    name=*) root=/sys/fs/cgroup/${controller#name=} ;;
    *) root=/sys/fs/cgroup/$controller ;;
    esac
    mkdir -p "$root$path/$group"
    echo $$ > "$root$path/$group/cgroup.procs"
done < /proc/self/cgroup
exec "$@"
"#;

/// Removes the groups of hosts that are no more; those that still hold processes stay.
const SWEEP: &str = r#"
find /sys/fs/cgroup -depth -type d -path "*/$1*" -exec rmdir {} + 2> /dev/null || :
"#;

/// A command that runs `program` in groups of its own for the host called `host`; the program's arguments are to be added.
pub(super) fn command_in_own(run: &str, host: &str, program: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-ec", ENTER, "sh", &format!("{PREFIX}{run}-{host}"), program]);
    command
}

/// Removes what hosts have left that ended, of this run and of killed ones.
pub(super) fn sweep() {
    // What cannot be removed now is by the next run.
    let _ = run_sweep();
}

fn run_sweep() -> anyhow::Result<String> {
    run(Command::new("sh").args(["-ec", SWEEP, "sh", PREFIX]))
}
