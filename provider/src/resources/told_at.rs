//! What tests of blocks ask of their problems.

use tfplug::Diagnostics;

/// Fails unless `problems` are exactly one for each of `places`, which are parts of their texts.
#[track_caller]
pub(super) fn told_at(problems: &Diagnostics, places: &[&str]) {
    let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
    for place in places {
        assert_eq!(told.iter().filter(|problem| problem.contains(place)).count(), 1, "{place}: {told:#?}");
    }
    assert_eq!(told.len(), places.len(), "{told:#?}");
}
