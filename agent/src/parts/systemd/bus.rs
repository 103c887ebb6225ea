//! systemd over the system bus. Connects when it is first asked, and anew when the bus was gone.
//! Source: systemd 252, org.freedesktop.systemd1(5).

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use serde::Serialize;
use tokio::sync::Mutex;
use zbus::{Connection, DynamicType, Message, MessageStream, OwnedObjectPath, OwnedVariant};

use super::{Systemd, Unit, UnitError, UnitState, Verb};

const SERVICE: &str = "org.freedesktop.systemd1";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const UNIT: &str = "org.freedesktop.systemd1.Unit";
const UNIT_SERVICE: &str = "org.freedesktop.systemd1.Service";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const JOB_REMOVED: &str = "type='signal',sender='org.freedesktop.systemd1',path='/org/freedesktop/systemd1',\
                           interface='org.freedesktop.systemd1.Manager',member='JobRemoved'";
/// How long a call may take whose answer needs no job. Reading all unit files of a large host takes seconds.
const CALL_DEADLINE: Duration = Duration::from_secs(60);
/// Ends of other jobs that may wait to be read while ours runs.
const JOBS: NonZeroUsize = NonZeroUsize::new(1024).expect("1024 is not zero");

/// The system bus of this host.
#[derive(Debug, Default)]
pub struct SystemBus {
    connection: Mutex<Option<Connection>>,
}

/// Why a call gave nothing.
enum CallError {
    Bus(String),
    Refused(String),
}

impl CallError {
    fn of(error: &zbus::Error) -> CallError {
        match error {
            zbus::Error::MethodError(name, text, _) => {
                CallError::Refused(text.clone().unwrap_or_else(|| name.to_string()))
            }
            zbus::Error::FDO(error) => match error.as_ref() {
                zbus::fdo::Error::NoReply(_)
                | zbus::fdo::Error::Disconnected(_)
                | zbus::fdo::Error::ServiceUnknown(_)
                | zbus::fdo::Error::NameHasNoOwner(_) => CallError::Bus(error.to_string()),
                _ => CallError::Refused(error.to_string()),
            },
            other => CallError::Bus(other.to_string()),
        }
    }

    fn about(self, verb: &str, unit: Unit) -> UnitError {
        match self {
            CallError::Bus(reason) => UnitError::Bus { reason },
            CallError::Refused(reason) => UnitError::Refused { verb: verb.to_owned(), unit, reason },
        }
    }

    fn plain(self) -> UnitError {
        let (CallError::Bus(reason) | CallError::Refused(reason)) = self;
        UnitError::Bus { reason }
    }
}

impl From<zbus::Error> for CallError {
    fn from(error: zbus::Error) -> CallError {
        CallError::of(&error)
    }
}

impl SystemBus {
    /// The bus; connects to nothing yet.
    #[must_use]
    pub fn new() -> SystemBus {
        SystemBus::default()
    }

    async fn connection(&self) -> Result<Connection, CallError> {
        let mut held = self.connection.lock().await;
        if let Some(connection) = held.as_ref().filter(|connection| !connection.is_closed()) {
            return Ok(connection.clone());
        }
        let builder = zbus::connection::Builder::system().method_timeout(CALL_DEADLINE);
        let connection = builder.build().await?;
        // Without it systemd sends no signals of jobs.
        connection.call_method(Some(SERVICE), MANAGER_PATH, Some(MANAGER), "Subscribe", &()).await?;
        *held = Some(connection.clone());
        Ok(connection)
    }

    async fn ask<B>(&self, method: &str, body: &B) -> Result<Message, CallError>
    where
        B: Serialize + DynamicType + Sync,
    {
        let connection = self.connection().await?;
        Ok(connection.call_method(Some(SERVICE), MANAGER_PATH, Some(MANAGER), method, body).await?)
    }

    /// The job's result. Its end may be told before the answer that names the job, so both are awaited together.
    async fn job(&self, method: &str, unit: Unit) -> Result<String, CallError> {
        let connection = self.connection().await?;
        let mut removed = MessageStream::for_match_rule(JOB_REMOVED, &connection, Some(JOBS)).await?;
        let body = (unit.name(), "replace");
        let call = connection.call_method(Some(SERVICE), MANAGER_PATH, Some(MANAGER), method, &body);
        tokio::pin!(call);
        let mut ended: Vec<(OwnedObjectPath, String)> = Vec::new();
        let gone = || CallError::Bus("the bus closed while a job ran".to_owned());
        let job: OwnedObjectPath = loop {
            tokio::select! {
                answer = &mut call => break answer?.body().deserialize()?,
                message = removed.next() => ended.push(job_removed(&message.ok_or_else(gone)??)?),
            }
        };
        if let Some((_, result)) = ended.into_iter().find(|(path, _)| *path == job) {
            return Ok(result);
        }
        loop {
            let (path, result) = job_removed(&removed.next().await.ok_or_else(gone)??)?;
            if path == job {
                return Ok(result);
            }
        }
    }

    async fn properties(
        &self,
        unit: Unit,
        interface: &str,
    ) -> Result<HashMap<String, OwnedVariant>, CallError> {
        let connection = self.connection().await?;
        let path = object_path(unit);
        let call =
            connection.call_method(Some(SERVICE), path.as_str(), Some(PROPERTIES), "GetAll", &(interface));
        Ok(call.await?.body().deserialize()?)
    }
}

/// Source: systemd 252, org.freedesktop.systemd1(5): `JobRemoved(u id, o job, s unit, s result)`.
fn job_removed(message: &Message) -> Result<(OwnedObjectPath, String), CallError> {
    let body = message.body();
    let (_, job, _, result): (u32, OwnedObjectPath, String, String) = body.deserialize()?;
    Ok((job, result))
}

/// Where a unit's object lies, loaded or not: whoever asks there has it loaded.
/// Source: systemd 252 src/basic/bus-label.c: all but letters and digits is `_` and two hex digits.
fn object_path(unit: Unit) -> String {
    let escaped = unit.name().bytes().map(|byte| match byte {
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte => format!("_{byte:02x}"),
    });
    format!("{MANAGER_PATH}/unit/{}", escaped.collect::<String>())
}

#[async_trait]
impl Systemd for SystemBus {
    async fn run(&self, unit: Unit, verb: Verb, deadline: Duration) -> Result<(), UnitError> {
        let method = match verb {
            Verb::Start => "StartUnit",
            Verb::Stop => "StopUnit",
            Verb::Reload => "ReloadUnit",
        };
        let result = tokio::time::timeout(deadline, self.job(method, unit)).await;
        let result = result.map_err(|_| UnitError::Deadline { verb, unit, deadline })?;
        match result.map_err(|error| error.about(&verb.to_string(), unit))? {
            result if result == "done" => Ok(()),
            result => Err(UnitError::Job { verb, unit, result }),
        }
    }

    async fn kill(&self, unit: Unit, signal: i32) -> Result<(), UnitError> {
        match self.ask("KillUnit", &(unit.name(), "all", signal)).await {
            Ok(_) => Ok(()),
            Err(error) => match self.main_pid(unit).await {
                Ok(None) => Ok(()),
                Ok(Some(_)) | Err(_) => Err(error.about("kill", unit)),
            },
        }
    }

    async fn reset_failed(&self, unit: Unit) -> Result<(), UnitError> {
        let done = self.ask("ResetFailedUnit", &(unit.name())).await;
        done.map(drop).map_err(|error| error.about("reset", unit))
    }

    async fn reload(&self) -> Result<(), UnitError> {
        self.ask("Reload", &()).await.map(drop).map_err(CallError::plain)
    }

    async fn unmask(&self, unit: Unit) -> Result<(), UnitError> {
        for is_until_boot in [false, true] {
            let done = self.ask("UnmaskUnitFiles", &([unit.name()].as_slice(), is_until_boot)).await;
            done.map_err(|error| error.about("unmask", unit))?;
        }
        Ok(())
    }

    async fn state(&self, unit: Unit) -> Result<UnitState, UnitError> {
        let told = |error: CallError| error.about("show", unit);
        let general = self.properties(unit, UNIT).await.map_err(told)?;
        let service = self.properties(unit, UNIT_SERVICE).await.map_err(told)?;
        Ok(state(&Told(general), &Told(service)))
    }

    async fn main_pid(&self, unit: Unit) -> Result<Option<u32>, UnitError> {
        let ask = async {
            let connection = self.connection().await?;
            let (path, body) = (object_path(unit), (UNIT_SERVICE, "MainPID"));
            let call = connection.call_method(Some(SERVICE), path.as_str(), Some(PROPERTIES), "Get", &body);
            Ok::<OwnedVariant, CallError>(call.await?.body().deserialize()?)
        };
        let value = ask.await.map_err(|error| error.about("show", unit))?;
        Ok(u32::try_from(value).ok().filter(|pid| *pid != 0))
    }
}

/// Properties by name; one that is missing or of another type is empty.
struct Told(HashMap<String, OwnedVariant>);

impl Told {
    fn find<T: TryFrom<OwnedVariant>>(&self, name: &str) -> Option<T> {
        T::try_from(self.0.get(name)?.try_clone().ok()?).ok()
    }

    fn text(&self, name: &str) -> String {
        self.find(name).unwrap_or_default()
    }
}

fn state(unit: &Told, service: &Told) -> UnitState {
    let invocation: Vec<u8> = unit.find("InvocationID").unwrap_or_default();
    let is_one = invocation.len() == 16 && invocation.iter().any(|byte| *byte != 0);
    UnitState {
        load: unit.text("LoadState"),
        active: unit.text("ActiveState"),
        sub: unit.text("SubState"),
        result: service.text("Result"),
        main_pid: service.find("MainPID").filter(|pid: &u32| *pid != 0),
        invocation: is_one.then(|| data_encoding::HEXLOWER.encode(&invocation)),
        restarts: service.find("NRestarts").unwrap_or_default(),
        started_us: service.find("ExecMainStartTimestamp").unwrap_or_default(),
        last_exit: last_exit(
            service.find("ExecMainCode").unwrap_or_default(),
            service.find("ExecMainStatus").unwrap_or_default(),
        ),
        file_state: unit.text("UnitFileState"),
        fragment: PathBuf::from(unit.text("FragmentPath")),
        drop_ins: unit
            .find::<Vec<String>>("DropInPaths")
            .unwrap_or_default()
            .into_iter()
            .map(PathBuf::from)
            .collect(),
        needs_reload: unit.find("NeedDaemonReload").unwrap_or_default(),
        open_files: service.find("LimitNOFILESoft").zip(service.find("LimitNOFILE")),
    }
}

/// Source: Linux waitid(2): `CLD_EXITED` is 1, `CLD_KILLED` 2, `CLD_DUMPED` 3.
fn last_exit(code: i32, status: i32) -> Option<String> {
    match code {
        1 => Some(format!("exit status {status}")),
        2 | 3 => Some(format!("signal {status}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_lies_where_systemd_puts_it() {
        assert_eq!(object_path(Unit::NatsServer), "/org/freedesktop/systemd1/unit/nats_2dserver_2eservice");
    }

    #[test]
    fn what_is_not_told_is_empty() {
        let nothing = state(&Told(HashMap::new()), &Told(HashMap::new()));
        assert_eq!((nothing.main_pid, nothing.invocation.as_deref(), nothing.running()), (None, None, None));
        let of = |name: &str, value: OwnedVariant| Told(HashMap::from([(name.to_owned(), value)]));
        let pid = state(&Told(HashMap::new()), &of("MainPID", OwnedVariant::from(7_u32)));
        assert_eq!(pid.main_pid, Some(7));
        let limits = [("LimitNOFILESoft", 1024_u64), ("LimitNOFILE", u64::MAX)];
        let limits = limits.map(|(name, limit)| (name.to_owned(), OwnedVariant::from(limit)));
        let limited = state(&Told(HashMap::new()), &Told(HashMap::from(limits)));
        assert_eq!((limited.open_files, pid.open_files), (Some((1024, u64::MAX)), None));
        let wrong = state(&of("ActiveState", OwnedVariant::from(7_u32)), &Told(HashMap::new()));
        assert_eq!(wrong.active, "");
        assert_eq!(last_exit(2, 9).as_deref(), Some("signal 9"));
    }
}
