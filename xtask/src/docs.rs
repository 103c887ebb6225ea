//! `cargo xtask docs`: the reference pages of `docs/`, written from the schema that the built provider shows.
//!
//! What stands between the marks of a page is generated; the rest is written by hand and never touched.

mod page;
mod reference;
mod schema;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use acceptance_tests::rig::binaries;
use acceptance_tests::rig::terraform::{Installation, PROVIDER_SOURCE, Workspace};
use acceptance_tests::workspace;
use anyhow::{Context, Result, bail};
use serde_json::Value;

use page::{Block, Page};
use schema::Provider;

/// The provider's schema as terraform shows it. It is committed, so that a change to it is seen in review.
const GOLDEN: &str = "provider/tests/golden/schema.json";

/// Folders of reference pages. Source: Terraform Registry, "Provider documentation", directory structure.
const FOLDERS: [&str; 5] = ["resources", "data-sources", "ephemeral-resources", "functions", "guides"];

/// Writes schema and pages; with `check` it changes nothing and fails where they are not what would be written.
///
/// Until a schema is committed, a check looks at the hand-written pages only.
///
/// # Errors
/// When a page or the schema is not as it must be, the provider does not compile, or terraform is missing.
pub(crate) fn run(check: bool) -> Result<()> {
    let root = workspace::root();
    let mut problems = Vec::new();
    if !check || root.join(GOLDEN).exists() {
        let schema = read_schema()?;
        let provider: Provider =
            serde_json::from_value(schema.clone()).context("read the provider's schema")?;
        problems.extend(provider.undescribed());
        let mut golden = serde_json::to_string_pretty(&schema).context("write the schema as JSON")?;
        golden.push('\n');
        let mut wanted = BTreeMap::from([(PathBuf::from(GOLDEN), golden)]);
        wanted.extend(pages(&root, &provider)?);
        problems.extend(left_over(&root, &wanted)?);
        for (file, text) in wanted {
            let path = root.join(&file);
            if fs::read_to_string(&path).is_ok_and(|present| present == text) {
                continue;
            }
            if check {
                problems.push(format!("{}: is not up to date; run `cargo xtask docs`", file.display()));
                continue;
            }
            fs::create_dir_all(path.parent().unwrap_or(&root))
                .with_context(|| format!("create the folder of `{}`", file.display()))?;
            fs::write(&path, text).with_context(|| format!("write `{}`", file.display()))?;
            println!("wrote {}", file.display());
        }
    }
    problems.extend(front_matter_problems(&root)?);
    for problem in &problems {
        println!("{problem}");
    }
    if problems.is_empty() { Ok(()) } else { bail!("{} problems in docs/", problems.len()) }
}

/// The schema that the provider of this tree shows to terraform.
fn read_schema() -> Result<Value> {
    let workspace = Workspace::new(&binaries::provider()?, Installation::DevOverride)?;
    let mut schemas = workspace.providers_schema()?;
    match schemas["provider_schemas"][PROVIDER_SOURCE].take() {
        Value::Null => bail!("terraform shows no schema of `{PROVIDER_SOURCE}`"),
        schema => Ok(schema),
    }
}

/// Every reference page, by its path: what is on disk with its generated blocks renewed, or a new page.
fn pages(root: &Path, provider: &Provider) -> Result<BTreeMap<PathBuf, String>> {
    let mut pages = BTreeMap::new();
    for reference in provider.references() {
        let file = Path::new("docs").join(&reference.file);
        let mut page = match fs::read_to_string(root.join(&file)) {
            Ok(text) => Page::parse(&text).with_context(|| format!("`{}`", file.display()))?,
            Err(_) => Page::new(&reference.title, &reference.description),
        };
        let example = root.join("examples").join(&reference.example);
        if let Ok(text) = fs::read_to_string(&example) {
            page.set(Block::Example, &format!("## Example Usage\n\n```terraform\n{}\n```", text.trim()));
        }
        let mut schema = reference.schema;
        let import = example.with_file_name("import.sh");
        if let Ok(text) = fs::read_to_string(import) {
            schema.push_str(&format!("\n\n## Import\n\n```shell\n{}\n```", text.trim()));
        }
        page.set(Block::Schema, &schema);
        pages.insert(file, page.into_text());
    }
    Ok(pages)
}

/// Reference pages of things that the schema does not have.
fn left_over(root: &Path, wanted: &BTreeMap<PathBuf, String>) -> Result<Vec<String>> {
    let present = markdown_files(root, &FOLDERS[..4])?;
    Ok(present
        .into_iter()
        .filter(|file| !wanted.contains_key(file))
        .map(|file| format!("{}: the provider has no such thing", file.display()))
        .collect())
}

/// What is wrong at the top of the pages that the registry shows.
fn front_matter_problems(root: &Path) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    let mut files = markdown_files(root, &FOLDERS)?;
    files.push(PathBuf::from("docs/index.md"));
    for file in files {
        let text =
            fs::read_to_string(root.join(&file)).with_context(|| format!("read `{}`", file.display()))?;
        problems.extend(
            page::front_matter_problems(&text)
                .into_iter()
                .map(|problem| format!("{}: {problem}", file.display())),
        );
    }
    Ok(problems)
}

/// Pages in some folders of `docs/`, sorted; folders that are not there hold none.
fn markdown_files(root: &Path, folders: &[&str]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for folder in folders.iter().map(|folder| Path::new("docs").join(folder)) {
        let Ok(entries) = fs::read_dir(root.join(&folder)) else { continue };
        for entry in entries {
            let name = entry.with_context(|| format!("list `{}`", folder.display()))?.file_name();
            if Path::new(&name).extension().is_some_and(|extension| extension == "md") {
                files.push(folder.join(name));
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests;
