//! A log looked through, line by line.

use super::compare::Head;
use super::line::{Line, Problem};

/// Looks a log through while it is read.
///
/// After a line that cannot be read it goes on with the next one that is whole by itself, whatever its place, so that what
/// came later is looked at too and an agent knows where to go on.
#[derive(Debug, Clone, Default)]
pub struct Verifier {
    head: Option<Head>,
    is_lost: bool,
}

impl Verifier {
    /// Takes the next line, without its newline, and returns it where it could be read at all.
    ///
    /// # Errors
    /// What is wrong with it, and the line itself where only its place is wrong.
    pub fn take(&mut self, text: &[u8]) -> Result<Line, (Problem, Option<Line>)> {
        let line = Line::parse(text).map_err(|problem| {
            self.is_lost = true;
            (problem, None)
        })?;
        let before = self.head.replace(line.head());
        let was_lost = std::mem::take(&mut self.is_lost);
        match line.follows(before.as_ref()) {
            Err(problem) if !was_lost => Err((problem, Some(line))),
            Ok(()) | Err(_) => Ok(line),
        }
    }

    /// The last record that was whole; absent before the first.
    #[must_use]
    pub fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }
}
