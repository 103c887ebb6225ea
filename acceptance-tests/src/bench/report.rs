//! Figures in words, and the page they are kept on. Must not measure anything.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

/// What one measurement found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its name on the command line, such as `plan`.
    pub name: &'static str,
    /// What the floor was: the least that any program doing this would need.
    pub floor: String,
    /// One line each.
    pub rows: Vec<Row>,
}

/// One figure beside its floor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// Our figure.
    pub ours: String,
    /// The floor's; absent where nothing compares.
    pub floor: Option<String>,
    /// Ours by the floor's.
    pub ratio: Option<String>,
    /// What is wanted, and whether it was reached.
    pub goal: Option<Goal>,
}

/// A figure that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Goal {
    /// In words, such as `15 ms`.
    pub text: String,
    /// Whether it was reached.
    pub met: bool,
}

impl Row {
    /// Two lengths of time; the goal, if any, is for ours.
    #[must_use]
    pub fn of_times(what: &str, ours: Duration, floor: Duration, goal: Option<Duration>) -> Self {
        Self {
            what: what.to_owned(),
            ours: time_text(ours),
            floor: Some(time_text(floor)),
            ratio: ratio_text(ours.as_secs_f64(), floor.as_secs_f64()),
            goal: goal.map(|goal| Goal { text: time_text(goal), met: ours <= goal }),
        }
    }

    /// Two numbers of one unit; the goal, if any, is the most that ours may be.
    #[must_use]
    pub fn of_numbers(what: &str, ours: f64, floor: f64, unit: &str, goal: Option<f64>) -> Self {
        let text = |number: f64| format!("{number:.2} {unit}");
        Self {
            what: what.to_owned(),
            ours: text(ours),
            floor: Some(text(floor)),
            ratio: ratio_text(ours, floor),
            goal: goal.map(|goal| Goal { text: text(goal), met: ours <= goal }),
        }
    }
}

impl Table {
    /// The table in Markdown, with a line above it that says what the floor is and which machine this was.
    #[must_use]
    pub fn text(&self, machine: &str) -> String {
        let Self { name: _, floor, rows } = self;
        let mut text = format!(
            "Floor: {floor}. Measured on {machine}.\n\n| what | ours | floor | ratio | goal |\n| --- | --- | --- | --- | --- |"
        );
        for Row { what, ours, floor, ratio, goal } in rows {
            let goal = goal
                .as_ref()
                .map(|Goal { text, met }| format!("{text}, {}", if *met { "met" } else { "**missed**" }));
            let cell = |cell: &Option<String>| cell.clone().unwrap_or_default();
            write!(text, "\n| {what} | {ours} | {} | {} | {} |", cell(floor), cell(ratio), cell(&goal))
                .expect("a String takes all that is written to it");
        }
        text
    }
}

/// Puts `content` between the marks of measurement `name` in the page; a page without them gets them at its end.
///
/// # Errors
/// When the page cannot be read or written.
pub fn keep(page: &Path, name: &str, content: &str) -> Result<()> {
    let text = fs::read_to_string(page).with_context(|| format!("read `{}`", page.display()))?;
    fs::write(page, with_content(&text, name, content)).with_context(|| format!("write `{}`", page.display()))
}

fn with_content(page: &str, name: &str, content: &str) -> String {
    let (start, end) = (format!("<!-- measured: {name} -->"), format!("<!-- end: {name} -->"));
    let block = format!("{start}\n{content}\n{end}");
    match (page.find(&start), page.find(&end)) {
        (Some(from), Some(to)) if from < to => {
            format!("{}{block}{}", &page[..from], &page[to + end.len()..])
        }
        _ => format!("{}\n\n{block}\n", page.trim_end()),
    }
}

/// This machine in one line: processors, their model and the kernel.
#[must_use]
pub fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("an unnamed model", |(_, model)| model.trim());
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{processors} processors ({model}), Linux {}, load {load} before", kernel.trim())
}

/// The value below which `share` (0 to 1) of the sorted `values` lie; zero when there are none.
#[must_use]
pub fn quantile(values: &[Duration], share: f64) -> Duration {
    let mut sorted = values.to_vec();
    sorted.sort();
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a few thousand values at most, and a share between 0 and 1"
    )]
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied().unwrap_or_default()
}

/// Three digits that matter, in the unit that suits.
fn time_text(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds >= 1.0 {
        format!("{seconds:.2} s")
    } else if seconds >= 0.01 {
        format!("{:.1} ms", seconds * 1e3)
    } else {
        format!("{:.2} ms", seconds * 1e3)
    }
}

fn ratio_text(ours: f64, floor: f64) -> Option<String> {
    (floor > 0.0).then(|| format!("{:.2}", ours / floor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let values: Vec<_> = (1..=10).rev().map(Duration::from_millis).collect();
        let at = |share| quantile(&values, share).as_millis();
        assert_eq!((at(0.0), at(0.5), at(0.9), at(1.0)), (1, 5, 9, 10));
        assert_eq!(quantile(&[], 0.5), Duration::ZERO);
    }

    #[test]
    fn a_table_says_what_was_missed() {
        let row = |ours| {
            Row::of_times(
                "start",
                Duration::from_millis(ours),
                Duration::from_millis(4),
                Some(Duration::from_millis(15)),
            )
        };
        let idle = Row::of_numbers("memory", 12.0, 0.0, "MiB", None);
        let table = Table { name: "start", floor: "nothing".to_owned(), rows: vec![row(8), row(20), idle] };
        assert_eq!(
            table.text("a machine"),
            "Floor: nothing. Measured on a machine.\n\n\
             | what | ours | floor | ratio | goal |\n| --- | --- | --- | --- | --- |\n\
             | start | 8.00 ms | 4.00 ms | 2.00 | 15.0 ms, met |\n\
             | start | 20.0 ms | 4.00 ms | 5.00 | 15.0 ms, **missed** |\n\
             | memory | 12.00 MiB | 0.00 MiB |  |  |"
        );
    }

    #[test]
    fn a_page_keeps_what_stands_around() {
        let page = with_content("# Figures\n", "plan", "old");
        assert_eq!(page, "# Figures\n\n<!-- measured: plan -->\nold\n<!-- end: plan -->\n");
        let page = with_content(&format!("{page}\nBelow.\n"), "plan", "new");
        assert_eq!(page, "# Figures\n\n<!-- measured: plan -->\nnew\n<!-- end: plan -->\n\nBelow.\n");
    }
}
