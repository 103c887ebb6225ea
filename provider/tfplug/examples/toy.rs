//! A provider small enough to read at once, driven by real Terraform in `tests/terraform.rs`. Its "cloud"
//! is a directory of files.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tfplug::{
    Attribute, CloseRequest, ConfigureRequest, CreateRequest, Created, DataRead, DataSource,
    DataSourceRequest, DeleteRequest, Deleted, DestroyPlanRequest, Diagnostic, Diagnostics,
    EphemeralResource, Failure, Function, FunctionError, ImportRequest, Imported, OpenRequest, Opened,
    Parameter, Path, PrivateState, Provider, ReadRequest, ReadResponse, Resource, Schema, Signature, Type,
    UpdateRequest, Updated, Value,
};

/// The directory, once the provider is configured.
#[derive(Clone, Default)]
struct Cloud(Arc<Mutex<Option<PathBuf>>>);

impl Cloud {
    fn file(&self, name: &str) -> Result<PathBuf, Failure> {
        let place = self.0.lock().map_err(|_| Failure::new("Directory is lost", ""))?;
        let place = place.as_ref().ok_or_else(|| Failure::new("Directory is not known yet", ""))?;
        Ok(place.join(name))
    }

    fn write(&self, name: &str, text: &str) -> Result<(), Failure> {
        std::fs::write(self.file(name)?, text)
            .map_err(|error| Failure::new("Cannot write", error.to_string()))
    }
}

#[derive(Default)]
struct Toy {
    cloud: Cloud,
}

#[async_trait]
impl Provider for Toy {
    fn schema(&self) -> Schema {
        Schema::new(0).attribute(Attribute::string("directory").required())
    }

    fn resources(&self) -> Vec<Arc<dyn Resource>> {
        vec![Arc::new(Thing { cloud: self.cloud.clone() })]
    }

    fn data_sources(&self) -> Vec<Arc<dyn DataSource>> {
        vec![Arc::new(Look { cloud: self.cloud.clone() })]
    }

    fn ephemeral_resources(&self) -> Vec<Arc<dyn EphemeralResource>> {
        vec![Arc::new(Secret { cloud: self.cloud.clone() })]
    }

    fn functions(&self) -> Vec<Arc<dyn Function>> {
        vec![Arc::new(Shout)]
    }

    async fn configure(&self, request: ConfigureRequest) -> Diagnostics {
        if let Ok(mut place) = self.cloud.0.lock() {
            *place = request.config.attr("directory").as_str().map(PathBuf::from);
        }
        Diagnostics::new()
    }
}

/// A file, with attributes of every kind.
struct Thing {
    cloud: Cloud,
}

fn same_size(a: &Value, b: &Value) -> bool {
    let bytes = |value: &Value| {
        let text = value.as_str()?;
        let (digits, factor) = match text.strip_suffix("KB") {
            Some(digits) => (digits, 1024),
            None => (text.strip_suffix('B')?, 1),
        };
        digits.parse::<u64>().ok()?.checked_mul(factor)
    };
    bytes(a).is_some() && bytes(a) == bytes(b)
}

fn reported(planned: &Value) -> Value {
    let name = planned.attr("name").clone();
    let parts = planned.attr("parts").entries().map(|(key, part)| {
        let id = format!("{}/{key}", name.as_str().unwrap_or_default());
        (key.to_owned(), part.clone().with("id", id))
    });
    let parts = match planned.attr("parts") {
        Value::Null => Value::Null,
        _ => Value::map(parts.collect::<Vec<_>>()),
    };
    planned.clone().with("id", name).with("parts", parts)
}

#[async_trait]
impl Resource for Thing {
    fn type_name(&self) -> &str {
        "toy_thing"
    }

    fn schema(&self) -> Schema {
        Schema::new(1)
            .description("A file.")
            .attribute(Attribute::string("id").computed().use_state_for_unknown())
            .attribute(Attribute::string("name").required().requires_replace())
            .attribute(Attribute::string("size").default("1KB").equivalent(same_size))
            .attribute(Attribute::number("wait_ms").default(0))
            .attribute(Attribute::string("password").write_only())
            .attribute(Attribute::number("password_version").optional())
            .attribute(Attribute::set("tags", Type::String).optional())
            .attribute(Attribute::bool("locked").default(false))
            .attribute(
                Attribute::map_of(
                    "parts",
                    [
                        Attribute::string("text").required().description("What is in it."),
                        Attribute::number("weight").default(1),
                        Attribute::string("id").computed().use_state_for_unknown(),
                    ],
                )
                .optional(),
            )
    }

    async fn validate(&self, config: &Value) -> Diagnostics {
        let mut found = Diagnostics::new();
        let size = config.attr("size");
        if size.as_str().is_some() && !same_size(size, size) {
            found.error_at(Path::root("size"), "Not a size", "Write `10B` or `10KB`.");
        }
        for (key, part) in config.attr("parts").entries() {
            if part.attr("text").as_str() == Some("") {
                let path = Path::root("parts").key(key).attr("text");
                found.error_at(path, "Empty part", "A part needs text.");
            }
        }
        found
    }

    async fn plan_destroy(&self, request: DestroyPlanRequest) -> Diagnostics {
        if request.prior.attr("locked").as_bool() == Some(true) {
            return Diagnostic::error("Thing is locked", "Set `locked` to false first.").into();
        }
        Diagnostics::new()
    }

    async fn create(&self, request: CreateRequest) -> Result<Created, Failure> {
        let CreateRequest { planned, config, private: _, stop } = request;
        let name = planned.attr("name").as_str().unwrap_or_default().to_owned();
        if config.attr("password").as_str().is_some_and(str::is_empty) {
            return Err(Failure::new("Empty password", ""));
        }
        let wait = planned.attr("wait_ms").as_u64().unwrap_or_default();
        if wait > 0 {
            self.cloud.write(&format!("{name}.started"), "")?;
            stop.stopped().await;
            // What was begun is finished, so that state tells the truth.
            tokio::time::sleep(Duration::from_millis(wait)).await;
        }
        let state = reported(&planned);
        self.cloud.write(&name, &state.to_string())?;
        Ok(Created { state, private: PrivateState::from(b"made".to_vec()), diagnostics: Diagnostics::new() })
    }

    async fn read(&self, request: ReadRequest) -> ReadResponse {
        let ReadRequest { state, private, stop: _ } = request;
        let name = state.attr("name").as_str().unwrap_or_default().to_owned();
        match self.cloud.file(&name) {
            Ok(file) if file.exists() => {
                // The other side reports sizes in bytes; the generic rules keep the form as written.
                let size = state.attr("size").clone();
                let size = if same_size(&size, &"1KB".into()) { "1024B".into() } else { size };
                ReadResponse::found(state.with("size", size), private)
            }
            Ok(_) => ReadResponse::gone(),
            Err(failure) => ReadResponse::unanswered(failure.diagnostics),
        }
    }

    async fn update(&self, request: UpdateRequest) -> Result<Updated, Failure> {
        let state = reported(&request.planned);
        let name = state.attr("name").as_str().unwrap_or_default();
        if self.cloud.file(&format!("{name}.refuse"))?.exists() {
            return Err(Failure::new("Update refused", "Remove the `.refuse` file."));
        }
        self.cloud.write(name, &state.to_string())?;
        Ok(Updated { state, private: request.private, diagnostics: Diagnostics::new() })
    }

    async fn delete(&self, request: DeleteRequest) -> Result<Deleted, Failure> {
        let file = self.cloud.file(request.prior.attr("name").as_str().unwrap_or_default())?;
        match std::fs::remove_file(file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Failure::new("Cannot remove", error.to_string()))
            }
            _ => Ok(Deleted::default()),
        }
    }

    async fn import(&self, request: ImportRequest) -> Result<Imported, Failure> {
        if !self.cloud.file(&request.id)?.exists() {
            return Err(Failure::new(format!("No thing `{}`", request.id), ""));
        }
        let id = Value::from(request.id);
        let state = Value::object([("id", id.clone()), ("name", id), ("size", "1KB".into())])
            .with("wait_ms", 0)
            .with("locked", false);
        Ok(state.into())
    }
}

/// Says whether a file is there.
struct Look {
    cloud: Cloud,
}

#[async_trait]
impl DataSource for Look {
    fn type_name(&self) -> &str {
        "toy_look"
    }

    fn schema(&self) -> Schema {
        Schema::new(0)
            .attribute(Attribute::string("name").required())
            .attribute(Attribute::bool("exists").computed())
    }

    async fn read(&self, request: DataSourceRequest) -> Result<DataRead, Failure> {
        let exists = self.cloud.file(request.config.attr("name").as_str().unwrap_or_default())?.exists();
        Ok(request.config.with("exists", exists).into())
    }
}

/// A value that lives for one run.
struct Secret {
    cloud: Cloud,
}

#[async_trait]
impl EphemeralResource for Secret {
    fn type_name(&self) -> &str {
        "toy_secret"
    }

    fn schema(&self) -> Schema {
        Schema::new(0)
            .attribute(Attribute::string("seed").required())
            .attribute(Attribute::string("value").computed().sensitive())
    }

    async fn open(&self, request: OpenRequest) -> Result<Opened, Failure> {
        let value = format!("hush-{}", request.config.attr("seed").as_str().unwrap_or_default());
        let mut opened = Opened::from(request.config.with("value", value));
        opened.private = PrivateState::from(b"open".to_vec());
        Ok(opened)
    }

    async fn close(&self, request: CloseRequest) -> Diagnostics {
        let text = String::from_utf8_lossy(request.private.as_bytes()).into_owned();
        match self.cloud.write("closed", &text) {
            Ok(()) => Diagnostics::new(),
            Err(failure) => failure.diagnostics,
        }
    }
}

/// Makes letters large.
struct Shout;

impl Function for Shout {
    fn name(&self) -> &str {
        "shout"
    }

    fn signature(&self) -> Signature {
        Signature::new(Type::String, "Makes letters large.").parameter(Parameter::new("text", Type::String))
    }

    fn call(&self, arguments: &[Value]) -> Result<Value, FunctionError> {
        match arguments.first().and_then(Value::as_str) {
            Some("") | None => Err(FunctionError::argument(0, "nothing to shout")),
            Some(text) => Ok(text.to_uppercase().into()),
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    tfplug::serve(Toy::default()).await
}
