//! No log that was touched passes for whole.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::SectionKind;
use crate::document::ContentHash;

fn record(number: u64) -> Record {
    let what = match number % 4 {
        0 => What::Section {
            section: SectionKind::Cluster,
            generation: number,
            content: ContentHash::of(&number.to_string()),
            writer: "pipeline \"7\" of\nteam é".to_owned(),
        },
        1 => What::Step { step: "reload nats-server".to_owned(), rendition: Some(number) },
        2 => What::Outcome { of: number, ended: Ended::Failed { reason: "no space left".to_owned() } },
        _ => What::Claims { accounts: ["ACCOUNT".to_owned()].into() },
    };
    let who = Who::Caller { role: "operator".to_owned(), serial: "0a".to_owned(), writer: String::new() };
    Record { at_ms: 1_700_000_000_000 + number, who, what, late: number.is_multiple_of(5) }
}

/// A log of `length` records.
fn log(length: u64) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for number in 0..length {
        let head = lines.last().map(Line::head);
        lines.push(Line::after(head.as_ref(), &record(number)));
    }
    lines
}

fn text(lines: &[Line]) -> Vec<u8> {
    lines.iter().flat_map(|line| line.to_text().into_bytes()).collect()
}

/// The whole lines of a text, and how many bytes of a last one that was cut short.
fn split(text: &[u8]) -> (Vec<&[u8]>, usize) {
    let mut lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    let torn = lines.pop().map_or(0, <[u8]>::len);
    (lines, torn)
}

/// The head of a log that is whole, or its first bad line.
fn verify<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Result<Option<Head>, String> {
    let mut verifier = Verifier::default();
    for (line, text) in (1..).zip(lines) {
        verifier.take(text).map_err(|(problem, _)| format!("line {line}: {problem}"))?;
    }
    Ok(verifier.head().cloned())
}

/// Whether a log that ended with `head` passes for whole.
fn passes(text: &[u8], head: &Head) -> bool {
    let (lines, torn) = split(text);
    let Ok(found) = verify(lines.iter().copied()) else { return false };
    let at = |line: &&[u8]| Line::parse(line).ok().filter(|line| line.head().seq == head.seq);
    let remembered = lines.iter().find_map(at).map(|line| line.head().hash);
    torn == 0 && compare(head, &Told { head: found, remembered }).is_ok()
}

fn head_of(lines: &[Line]) -> Head {
    lines.last().unwrap().head()
}

#[test]
fn a_line_has_one_form_and_comes_back() {
    let lines = log(6);
    let first = lines[0].to_text();
    let whole = concat!(
        r#"{"hash":"HASH","previous":"0000000000000000000000000000000000000000000000000000000000000000","#,
        r#""record":{"at_ms":1700000000000,"late":true,"what":{"section":{"content":"#,
        r#""5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9","generation":0,"section":"cluster","#,
        r#""writer":"pipeline \"7\" of\nteam é"}},"who":{"caller":{"role":"operator","serial":"0a","writer":""}}},"#,
        r#""seq":1}"#,
        "\n"
    );
    assert_eq!(first, whole.replace("HASH", lines[0].head().hash.as_str()));
    for (number, line) in (0..).zip(&lines) {
        let read = Line::parse(line.to_text().trim_end().as_bytes()).unwrap();
        assert_eq!((&read, read.record()), (line, Some(record(number))));
    }
    assert_eq!(verify([]), Ok(None));
}

#[test]
fn what_is_wrong_is_named() {
    let lines = log(5);
    let texts: Vec<String> = lines.iter().map(|line| line.to_text().trim_end().to_owned()).collect();
    let told = |texts: &[String]| verify(texts.iter().map(|text| text.as_bytes())).unwrap_err();
    let edited = [texts[0].clone(), texts[1].replace("reload", "remove")];
    assert_eq!(told(&edited), "line 2: record 2 was changed: its hash does not fit its content");
    let dropped = [texts[0].clone(), texts[2].clone()];
    assert_eq!(told(&dropped), "line 2: it is record 3, and record 2 comes here");
    let other = Line::after(Some(&lines[0].head()), &record(7));
    let forged = [texts[0].clone(), other.to_text().trim_end().to_owned(), texts[2].clone()];
    assert_eq!(told(&forged), "line 3: record 3 does not follow the record before it");
    let spaced = [texts[0].replace("{\"hash", "{ \"hash")];
    assert_eq!(told(&spaced), "line 1: it is no record");
    assert_eq!(told(&["x".repeat(MAX_LINE_BYTES + 1)]), "line 1: it is longer than 32768 bytes");
}

#[test]
fn a_verifier_goes_on_after_a_bad_line() {
    let lines = log(4);
    let mut verifier = Verifier::default();
    let texts: Vec<String> = lines.iter().map(|line| line.to_text().trim_end().to_owned()).collect();
    verifier.take(texts[0].as_bytes()).unwrap();
    assert_eq!(verifier.take(b"rubbish"), Err((Problem::NotARecord, None)));
    verifier.take(texts[2].as_bytes()).unwrap();
    verifier.take(texts[3].as_bytes()).unwrap();
    assert_eq!(verifier.head(), Some(&head_of(&lines)));
    let (problem, line) = verifier.take(texts[1].as_bytes()).unwrap_err();
    assert_eq!((problem, line.as_ref()), (Problem::Number { expected: 5, found: 2 }, Some(&lines[1])));
}

#[test]
fn a_remembered_head_is_compared() {
    let lines = log(5);
    let head = lines[2].head();
    let told = |length: usize, remembered: Option<&Line>| Told {
        head: lines[..length].last().map(Line::head),
        remembered: remembered.map(|line| line.head().hash),
    };
    let text = |told: Told| compare(&head, &told).map_err(|found| found.to_string());
    assert_eq!(text(told(5, Some(&lines[2]))), Ok(()));
    assert_eq!(text(told(3, None)), Ok(()));
    assert_eq!(text(told(5, Some(&lines[1]))), Err("record 3 is another one than it was".to_owned()));
    assert_eq!(text(told(5, None)), Err("record 3 cannot be read any more".to_owned()));
    assert_eq!(text(told(2, None)), Err("it ends with record 2, and it had 3 records".to_owned()));
    assert_eq!(text(told(0, None)), Err("there is no log, and it had 3 records".to_owned()));
}

#[test]
fn long_texts_are_cut_and_the_longest_record_fits_a_line() {
    assert_eq!(clip("short"), "short");
    assert_eq!(clip(&"é".repeat(1001)).chars().count(), 1001);
    let accounts = (0..100).map(|number| format!("{number:056}")).collect();
    let writer = clip(&"\u{1}".repeat(2000));
    let who = Who::Caller { role: format!("account:{}", "n".repeat(255)), serial: "f".repeat(40), writer };
    let line =
        Line::after(None, &Record { at_ms: u64::MAX, who, what: What::Claims { accounts }, late: true });
    let text = line.to_text();
    assert!(Line::parse(text.trim_end().as_bytes()).is_ok(), "{} bytes", text.len());
}

proptest! {
    #[test]
    fn a_whole_log_passes(length in 1_u64..40) {
        let lines = log(length);
        prop_assert!(passes(&text(&lines), &head_of(&lines)));
    }

    #[test]
    fn a_flipped_bit_is_found(length in 1_u64..12, at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let lines = log(length);
        let mut text = text(&lines);
        let at = at.index(text.len());
        text[at] ^= 1 << bit;
        prop_assert!(!passes(&text, &head_of(&lines)));
        // Without a remembered head too, but for the newline that makes the last record whole.
        let (found, torn) = split(&text);
        prop_assert!(verify(found).is_err() || (torn > 0 && at + 1 == text.len()));
    }

    #[test]
    fn a_cut_is_found(length in 1_u64..12, at in any::<prop::sample::Index>()) {
        let lines = log(length);
        let text = text(&lines);
        let at = at.index(text.len());
        prop_assert!(!passes(&text[..at], &head_of(&lines)));
        prop_assert!(!passes(&text[at + 1..], &head_of(&lines)));
    }

    #[test]
    fn dropped_doubled_and_moved_records_are_found(
        length in 2_u64..12,
        from in any::<prop::sample::Index>(),
        to in any::<prop::sample::Index>(),
    ) {
        let lines = log(length);
        let (from, to) = (from.index(lines.len()), to.index(lines.len()));
        let head = head_of(&lines);
        let mut dropped = lines.clone();
        let line = dropped.remove(from);
        prop_assert!(!passes(&text(&dropped), &head));
        let is_tail = from + 1 == lines.len();
        prop_assert_eq!(verify(split(&text(&dropped)).0).is_ok(), is_tail, "only a cut tail needs the head");
        let mut doubled = lines.clone();
        doubled.insert(to, line.clone());
        prop_assert!(verify(split(&text(&doubled)).0).is_err());
        let mut moved = dropped;
        moved.insert(to, line);
        prop_assert_eq!(verify(split(&text(&moved)).0).is_err(), from != to);
    }

    /// Against a model: a log passes exactly when its lines are those that were written, and it is as long at least.
    #[test]
    fn any_choice_of_lines_passes_only_when_nothing_was_done(
        length in 1_u64..8,
        remembered in any::<prop::sample::Index>(),
        chosen in vec(any::<prop::sample::Index>(), 0..10),
    ) {
        let lines = log(length);
        let remembered = remembered.index(lines.len());
        let chosen: Vec<usize> = chosen.into_iter().map(|index| index.index(lines.len())).collect();
        let picked: Vec<Line> = chosen.iter().map(|index| lines[*index].clone()).collect();
        let is_whole = chosen.iter().copied().eq(0..chosen.len()) && chosen.len() > remembered;
        prop_assert_eq!(passes(&text(&picked), &lines[remembered].head()), is_whole);
    }

    #[test]
    fn rubbish_neither_panics_nor_passes(bytes in vec(any::<u8>(), 0..300)) {
        prop_assert!(Line::parse(&bytes).is_err());
    }
}
