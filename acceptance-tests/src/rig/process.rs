//! A child process with its log that does not outlive the scenario, however the scenario ends.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process, kill_process_group};

use super::wait::wait_for;

/// How long a process has between being asked to end and being killed.
const GRACE: Duration = Duration::from_secs(10);

/// Waits on its input. When that ends without a word, the scenario's process is gone, and the group `$1` goes too.
const WATCHDOG: &str = r#"read -r word
[ "$word" = done ] && exit
kill -s TERM -- "-$1" && sleep 5 && kill -s KILL -- "-$1""#;

/// A running child that leads a process group of its own.
///
/// Dropping it asks the group to end, kills what is left after 10 s and waits for it. When the process that
/// holds it is killed itself, a watchdog does the same.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    /// The status, once the child has been waited for; from then on its number may belong to another process.
    exit: Option<ExitStatus>,
    log: PathBuf,
    watchdog: Child,
    watchdog_input: Option<ChildStdin>,
}

impl Process {
    /// Starts `command` with no input; what it prints is appended to the file `log`. `name` is for error texts.
    ///
    /// # Errors
    /// When the log cannot be written or the program cannot be started.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        Self::start_apart(name, command, log, log)
    }

    /// As [`Process::start`], with standard output in a file of its own; `log` then holds standard error.
    ///
    /// # Errors
    /// As [`Process::start`].
    pub fn start_apart(name: &str, command: &mut Command, output: &Path, log: &Path) -> Result<Self> {
        let open = |path: &Path| {
            let file = File::options().create(true).append(true).open(path);
            file.with_context(|| format!("open the log `{}`", path.display()))
        };
        let mut child = command
            .stdin(Stdio::null())
            .stdout(open(output)?)
            .stderr(open(log)?)
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {name} (`{}`)", command.get_program().to_string_lossy()))?;
        let watchdog = Command::new("sh")
            .args(["-c", WATCHDOG, "watchdog", &child.id().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn();
        match watchdog {
            Ok(mut watchdog) => {
                let watchdog_input = watchdog.stdin.take();
                Ok(Self {
                    name: name.to_owned(),
                    child,
                    exit: None,
                    log: log.to_path_buf(),
                    watchdog,
                    watchdog_input,
                })
            }
            Err(cause) => {
                // Not guarded, so it must not run on; the first error is the one to report.
                let _ = child.kill().and_then(|()| child.wait());
                Err(cause).with_context(|| format!("start the watchdog of {name}"))
            }
        }
    }

    /// The child's process number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything the child has printed so far; empty when the log cannot be read.
    pub fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// The exit status, once the child has ended.
    ///
    /// # Errors
    /// When the system cannot say.
    pub fn exit_status(&mut self) -> Result<Option<ExitStatus>> {
        if self.exit.is_none() {
            self.exit =
                self.child.try_wait().with_context(|| format!("look whether {} has ended", self.name))?;
        }
        Ok(self.exit)
    }

    /// Sends a signal to the child alone, not to its group. Does nothing once the child has ended.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        match self.running()? {
            Some(pid) => kill_process(pid, signal)
                .with_context(|| format!("send signal {} to {}", signal.as_raw(), self.name)),
            None => Ok(()),
        }
    }

    /// Sends a signal to the child's whole group, as a terminal does on Ctrl-C. Does nothing once the child has ended.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn signal_group(&mut self, signal: Signal) -> Result<()> {
        match self.running()? {
            Some(pid) => kill_process_group(pid, signal)
                .with_context(|| format!("send signal {} to the group of {}", signal.as_raw(), self.name)),
            None => Ok(()),
        }
    }

    /// Numbers of the processes that the child itself has started and that run now.
    pub fn children(&self) -> Vec<u32> {
        let parent = self.pid().to_string();
        let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let is_child = |pid: &u32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // After the name, which may hold anything: state and parent.
            let mut words =
                stat.rsplit_once(')').map(|(_, words)| words).unwrap_or_default().split(' ').skip(1);
            words.next().is_some_and(|state| state != "Z") && words.next() == Some(&parent)
        };
        pids.filter(is_child).collect()
    }

    /// Kills the child's whole group at once, as a power cut would, and waits for the child.
    ///
    /// # Errors
    /// When the system refuses, or the child is still there 10 s later.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        if let Some(pid) = self.running()? {
            kill_process_group(pid, Signal::KILL).with_context(|| format!("kill {}", self.name))?;
        }
        self.wait_exit(GRACE)
    }

    /// Asks the child to end (SIGTERM) and waits; kills its group when it has not ended after 10 s.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait_exit(GRACE).or_else(|_| self.kill())
    }

    /// Waits until the child has ended by itself.
    ///
    /// # Errors
    /// When it has not after `timeout`; the text holds the end of its log.
    pub fn wait_exit(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let what = format!("the end of {}", self.name);
        wait_for(&what, timeout, || self.exit_status())
            .with_context(|| format!("log of {}:\n{}", self.name, self.log_end()))
    }

    /// The last lines of the log, for error texts.
    pub fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    fn running(&mut self) -> Result<Option<Pid>> {
        let ended = self.exit_status()?.is_some();
        Ok(if ended { None } else { Pid::from_raw(self.child.id().cast_signed()) })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing can be reported from here; what does not work shows as a process left behind.
        let _ = self.stop();
        if let Some(mut input) = self.watchdog_input.take() {
            let _ = input.write_all(b"done\n");
        }
        let _ = self.watchdog.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(text: &str, folder: &Path) -> Process {
        Process::start("a script", Command::new("sh").args(["-c", text]), &folder.join("log")).unwrap()
    }

    /// A process that has ended but that nobody has waited for counts as gone.
    fn is_alive(pid: u32) -> bool {
        fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
    }

    /// The number that the script prints as its first line.
    fn printed_pid(process: &Process) -> u32 {
        wait_for("a printed number", GRACE, || {
            Ok(process.log().lines().next().map(str::parse).transpose()?)
        })
        .unwrap()
    }

    #[test]
    fn output_and_status_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut process = shell("echo out; echo err >&2; exit 3", folder.path());
        assert_eq!(process.wait_exit(GRACE).unwrap().code(), Some(3));
        assert_eq!(process.log(), "out\nerr\n");
        process.signal(Signal::TERM).unwrap();
    }

    #[test]
    fn dropping_ends_the_child() {
        let folder = tempfile::tempdir().unwrap();
        let process = shell("exec sleep 600", folder.path());
        let pid = process.pid();
        assert!(is_alive(pid));
        drop(process);
        assert!(!is_alive(pid));
    }

    #[test]
    fn killing_takes_the_whole_group() {
        let folder = tempfile::tempdir().unwrap();
        let mut process = shell("sleep 600 & echo $!; wait", folder.path());
        let grandchild = printed_pid(&process);
        process.kill().unwrap();
        wait_for("the grandchild's end", GRACE, || Ok((!is_alive(grandchild)).then_some(()))).unwrap();
    }

    #[test]
    fn children_are_those_of_the_child_alone() {
        let folder = tempfile::tempdir().unwrap();
        let process = shell("sleep 600 & echo $!; wait", folder.path());
        let grandchild = printed_pid(&process);
        assert_eq!(process.children(), [grandchild]);
    }

    #[test]
    fn the_watchdog_ends_the_group_when_its_owner_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let mut process = shell("sleep 600 & echo $!; wait", folder.path());
        let grandchild = printed_pid(&process);
        // What the system does when the owner is killed: the other end of the pipe closes.
        drop(process.watchdog_input.take());
        process.wait_exit(GRACE).unwrap();
        wait_for("the grandchild's end", GRACE, || Ok((!is_alive(grandchild)).then_some(()))).unwrap();
    }

    #[test]
    fn waiting_too_long_shows_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let mut process = shell("echo busy; exec sleep 600", folder.path());
        wait_for("its output", GRACE, || Ok((!process.log().is_empty()).then_some(()))).unwrap();
        let error = process.wait_exit(Duration::ZERO).unwrap_err();
        assert_eq!(format!("{error:#}"), "log of a script:\nbusy: the end of a script: not within 0ns");
    }
}
