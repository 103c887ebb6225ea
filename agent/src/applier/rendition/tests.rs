//! Renditions on a real file system.

use super::*;

/// A set whose files hold `word`; the names are the real ones.
fn set(word: &str) -> FileSet {
    let file = |mode| (Zeroizing::new(word.as_bytes().to_vec()), mode);
    FileSet(BTreeMap::from([(layout::CONFIG_FILE, file(0o644)), (layout::KEY_FILE, file(0o600))]))
}

fn kept(renditions: &Renditions, config: &str) -> u64 {
    let candidate = renditions.write_candidate(&set(config), Vec::new(), true).unwrap();
    renditions.keep(&candidate).unwrap();
    candidate.number
}

#[test]
fn renditions_count_up_and_old_ones_go_but_for_those_needed() {
    let directory = tempfile::tempdir().unwrap();
    let renditions = Renditions::open(directory.path().to_owned(), Effects::default()).unwrap();
    assert_eq!(renditions.current().unwrap(), None);
    let numbers: Vec<u64> = (0..8).map(|n| kept(&renditions, &n.to_string())).collect();
    assert_eq!(numbers, (1..=8).collect::<Vec<_>>());
    renditions.switch(Some(2)).unwrap();
    assert_eq!(renditions.current().unwrap(), Some(2));
    renditions.prune(&[2]).unwrap();
    let (mut left, _) = renditions.list().unwrap();
    left.sort_unstable();
    assert_eq!(left, [2, 4, 5, 6, 7, 8]);
    assert_eq!(renditions.find(&set("5"), &[]).unwrap(), Some(6));
    assert_eq!(renditions.find(&set("0"), &[]).unwrap(), None);
}

#[test]
fn an_edited_file_is_put_back_and_named() {
    let directory = tempfile::tempdir().unwrap();
    let renditions = Renditions::open(directory.path().to_owned(), Effects::default()).unwrap();
    let number = kept(&renditions, "config");
    assert_eq!(renditions.restore(number, &set("config")).unwrap(), Vec::<String>::new());
    let path = renditions.directory(number).join(layout::CONFIG_FILE);
    std::fs::write(&path, "edited").unwrap();
    assert_eq!(renditions.intact_file(number, layout::CONFIG_FILE).unwrap(), None);
    assert!(renditions.restore(number, &set("other")).is_err());
    assert_eq!(renditions.restore(number, &set("config")).unwrap(), [layout::CONFIG_FILE]);
    assert_eq!(renditions.intact_file(number, layout::CONFIG_FILE).unwrap().unwrap(), b"config");
    assert!(!format!("{:?}", set("secret")).contains("secret"));
}
