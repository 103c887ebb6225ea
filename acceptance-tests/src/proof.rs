//! What a proof or check found, in words, and whether each promise was kept. Must not run anything.

use std::fmt::{self, Display, Formatter, Write as _};

/// What one proof counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// What was run, in one sentence without its full stop: on how many of what.
    pub what: String,
    /// One line each.
    pub rows: Vec<Row>,
}

/// One figure, beside what is promised of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    what: String,
    found: String,
    promised: Option<String>,
    kept: bool,
}

impl Row {
    /// A figure that nothing is promised of.
    #[must_use]
    pub fn told(what: &str, found: impl Display) -> Row {
        Row { what: what.to_owned(), found: found.to_string(), promised: None, kept: true }
    }

    /// A figure that must be `promised`, no more and no less.
    #[must_use]
    pub fn exactly<T: Display + PartialEq>(what: &str, found: T, promised: T) -> Row {
        let kept = found == promised;
        Row { what: what.to_owned(), found: found.to_string(), promised: Some(promised.to_string()), kept }
    }

    /// A figure that must be `promised` or more.
    #[must_use]
    pub fn at_least<T: Display + PartialOrd>(what: &str, found: T, promised: T) -> Row {
        let kept = found >= promised;
        Row {
            what: what.to_owned(),
            found: found.to_string(),
            promised: Some(format!("at least {promised}")),
            kept,
        }
    }

    /// A figure that must be `promised` or less.
    #[must_use]
    pub fn at_most<T: Display + PartialOrd>(what: &str, found: T, promised: T) -> Row {
        let kept = found <= promised;
        Row {
            what: what.to_owned(),
            found: found.to_string(),
            promised: Some(format!("at most {promised}")),
            kept,
        }
    }

    /// Whether the figure is what is promised of it, if anything is.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.kept
    }
}

impl Display for Row {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { what, found, promised, kept } = self;
        write!(f, "{what}: {found}")?;
        if let Some(promised) = promised {
            write!(f, ", promised {promised}")?;
        }
        if *kept { Ok(()) } else { f.write_str(", broken") }
    }
}

impl Proof {
    /// The promises that were not kept, a line each.
    #[must_use]
    pub fn broken(&self) -> Vec<String> {
        let line = |row: &Row| {
            let Row { what, found, promised, kept: _ } = row;
            format!("{what}: {found}, promised {}", promised.as_deref().unwrap_or_default())
        };
        self.rows.iter().filter(|row| !row.kept).map(line).collect()
    }

    /// The table in Markdown, with a line above it that says what was run, from which seed, on which machine.
    #[must_use]
    pub fn text(&self, seed: u64, machine: &str) -> String {
        let Self { what, rows } = self;
        let mut text =
            format!("{what}. Seed {seed}, on {machine}.\n\n| what | found | promised |\n| --- | --- | --- |");
        for Row { what, found, promised, kept } in rows {
            let promised = promised.as_deref().unwrap_or_default();
            let broken = if *kept { "" } else { ", **broken**" };
            write!(text, "\n| {what} | {found} | {promised}{broken} |")
                .expect("a String takes all that is written to it");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_promise_is_told() {
        let rows = vec![
            Row::told("longest", "3 s"),
            Row::exactly("mixed", 0, 0),
            Row::exactly("lost", 2, 0),
            Row::at_least("runs", 9, 10),
            Row::at_most("memory, MiB", 5, 64),
        ];
        let proof = Proof { what: "Ten runs".to_owned(), rows };
        assert_eq!(proof.rows[2].to_string(), "lost: 2, promised 0, broken");
        assert_eq!(proof.rows[0].to_string(), "longest: 3 s");
        assert_eq!(proof.broken(), ["lost: 2, promised 0", "runs: 9, promised at least 10"]);
        assert_eq!(
            proof.text(7, "a machine"),
            "Ten runs. Seed 7, on a machine.\n\n\
             | what | found | promised |\n| --- | --- | --- |\n\
             | longest | 3 s |  |\n\
             | mixed | 0 | 0 |\n\
             | lost | 2 | 0, **broken** |\n\
             | runs | 9 | at least 10, **broken** |\n\
             | memory, MiB | 5 | at most 64 |"
        );
    }
}
