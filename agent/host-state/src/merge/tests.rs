//! Two writers of different accounts both win; one account never goes back.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn change(account: &str, issued_at: i64) -> ClaimChange {
    let entry = ClaimEntry {
        name: format!("name of {account}"),
        jwt: format!("{account}@{issued_at}"),
        issued_at,
        tombstone: issued_at % 5 == 0,
        declared: serde_json::Value::Null,
    };
    ClaimChange { account: account.to_owned(), entry }
}

#[test]
fn an_iat_that_does_not_increase_is_refused_and_the_same_entry_is_not() {
    let section = merge_claims(None, change("A1", 10)).unwrap();
    assert_eq!(merge_claims(Some(&section), change("A1", 10)), Ok(section.clone()));
    let mut other = change("A1", 10);
    other.entry.jwt = "another".to_owned();
    assert_eq!(
        merge_claims(Some(&section), other).unwrap_err().to_string(),
        "the JWT of account `name of A1` was issued at 10, not after 10 of the one it replaces"
    );
    assert!(merge_claims(Some(&section), change("A1", 9)).is_err());
    assert_eq!(next_issued_at(Some(&section), "A1", 7), 11);
    assert_eq!(next_issued_at(Some(&section), "A1", 99), 99);
    assert_eq!(next_issued_at(Some(&section), "A2", 7), 7);
}

proptest! {
    #[test]
    fn only_its_own_entry_changes(entries in proptest::collection::btree_map("A[1-5]", 1_i64..50, 0..5), account in "A[1-5]", at in 1_i64..60) {
        let accounts: BTreeMap<_, _> =
            entries.into_iter().map(|(key, at)| (key.clone(), change(&key, at).entry)).collect();
        let section = ClaimsSection { accounts };
        if let Ok(merged) = merge_claims(Some(&section), change(&account, at)) {
            prop_assert_eq!(&merged.accounts[&account], &change(&account, at).entry);
            let without = |section: &ClaimsSection| {
                section.accounts.iter().filter(|(key, _)| **key != account).map(|(k, v)| (k.clone(), v.clone())).collect::<Vec<_>>()
            };
            prop_assert_eq!(without(&merged), without(&section));
        }
        let next = next_issued_at(Some(&section), &account, at);
        prop_assert!(merge_claims(Some(&section), change(&account, next)).is_ok());
    }

    #[test]
    fn changes_of_different_accounts_commute(one in 1_i64..50, other in 1_i64..50) {
        let apply = |first, second| {
            let section = merge_claims(None, first).unwrap();
            merge_claims(Some(&section), second).unwrap()
        };
        prop_assert_eq!(
            apply(change("A1", one), change("A2", other)),
            apply(change("A2", other), change("A1", one))
        );
    }
}
