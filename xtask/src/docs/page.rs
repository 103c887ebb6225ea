//! One page: front matter, text by hand, and generated blocks between marks. Knows nothing of schemas.

use anyhow::{Result, ensure};

/// A generated part of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Block {
    /// The example, from `examples/`.
    Example,
    /// Attributes or parameters, and how to import.
    Schema,
}

impl Block {
    fn marks(self) -> (&'static str, &'static str) {
        match self {
            Self::Example => ("<!-- generated: example -->", "<!-- end: example -->"),
            Self::Schema => ("<!-- generated: schema -->", "<!-- end: schema -->"),
        }
    }
}

/// A page in which every mark that opens is closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page(String);

impl Page {
    /// A page that has only what can be said without a person.
    pub(super) fn new(title: &str, description: &str) -> Self {
        let short = description.lines().next().unwrap_or_default();
        Self(format!(
            "---\npage_title: \"{title}\"\nsubcategory: \"\"\ndescription: |-\n  {short}\n---\n\n# {title}\n\n{description}\n"
        ))
    }

    /// Takes a page as it is on disk.
    ///
    /// # Errors
    /// When a mark stands twice, or alone.
    pub(super) fn parse(text: &str) -> Result<Self> {
        for (start, end) in [Block::Example.marks(), Block::Schema.marks()] {
            let counts = (text.matches(start).count(), text.matches(end).count());
            let ordered = text.find(start) <= text.find(end);
            ensure!(
                matches!(counts, (0, 0) | (1, 1)) && ordered,
                "`{start}` and `{end}` must stand once each, in this order"
            );
        }
        Ok(Self(text.to_owned()))
    }

    /// Puts `content` between the marks of `block`; a page without them gets them at its end.
    pub(super) fn set(&mut self, block: Block, content: &str) {
        let (start, end) = block.marks();
        let generated = format!("{start}\n{content}\n{end}");
        match (self.0.find(start), self.0.find(end)) {
            (Some(from), Some(to)) => self.0.replace_range(from..to + end.len(), &generated),
            _ => self.0 = format!("{}\n\n{generated}\n", self.0.trim_end()),
        }
    }

    pub(super) fn into_text(self) -> String {
        self.0
    }
}

/// What is wrong with a page's front matter.
/// Source: Terraform Registry, "Provider documentation", YAML frontmatter.
pub(super) fn front_matter_problems(text: &str) -> Vec<String> {
    let Some((front, _)) = text.strip_prefix("---\n").and_then(|rest| rest.split_once("\n---\n")) else {
        return vec!["must open with front matter between two lines of `---`".to_owned()];
    };
    let value = |key: &str| {
        let mut lines = front.lines().skip_while(|line| !line.starts_with(&format!("{key}:")));
        let first = lines.next()?.split_once(':')?.1.trim().trim_matches('"');
        if !first.starts_with(['|', '>']) {
            return Some(first.to_owned());
        }
        // The text of a block scalar stands in the indented lines below it.
        let below = lines.next().filter(|line| line.starts_with(' ')).unwrap_or_default();
        Some(below.trim().to_owned())
    };
    let mut problems = Vec::new();
    for key in ["page_title", "description"] {
        if value(key).is_none_or(|value| value.is_empty()) {
            problems.push(format!("its front matter needs a `{key}`"));
        }
    }
    if value("subcategory").is_none() {
        problems.push("its front matter needs a `subcategory`, which may be \"\"".to_owned());
    }
    problems
}
