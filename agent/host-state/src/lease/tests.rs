//! One holder at a time, whatever the order of wishes.

use proptest::prelude::*;

use super::*;

fn wish(id: u8, action: LeaseAction, ttl_ms: u32) -> Wish {
    Wish { lease_id: id.to_string(), holder: format!("holder {id}"), action, ttl_ms }
}

#[test]
fn a_lease_is_held_renewed_lost_and_given_back() {
    let (held, answer) = decide(None, &wish(1, LeaseAction::Acquire, 0), 1_000);
    assert_eq!(answer, LeaseAnswer { granted: true, holder: "holder 1".to_owned(), remaining_ms: 30_000 });
    let (still, answer) = decide(held.as_ref(), &wish(2, LeaseAction::Acquire, 0), 11_000);
    assert_eq!(answer, LeaseAnswer { granted: false, holder: "holder 1".to_owned(), remaining_ms: 20_000 });
    assert_eq!(still, held);
    let (renewed, answer) = decide(held.as_ref(), &wish(1, LeaseAction::Renew, 90_000), 30_999);
    assert!(answer.granted && answer.remaining_ms == MAX_TTL_MS);
    assert!(is_held_by(renewed.as_ref(), "1", 90_998) && !is_held_by(renewed.as_ref(), "1", 90_999));
    let (late, answer) = decide(renewed.as_ref(), &wish(1, LeaseAction::Renew, 0), 90_999);
    assert_eq!((late, answer.granted, answer.holder.as_str()), (None, false, ""));
    let (other, answer) = decide(renewed.as_ref(), &wish(2, LeaseAction::Acquire, 0), 90_999);
    assert!(answer.granted && other.unwrap().holder == "holder 2");
    let (freed, answer) = decide(held.as_ref(), &wish(1, LeaseAction::Release, 0), 2_000);
    assert_eq!((freed, answer.granted, answer.remaining_ms), (None, false, 0));
    let (kept, answer) = decide(held.as_ref(), &wish(2, LeaseAction::Release, 0), 2_000);
    assert_eq!((kept, answer.holder.as_str()), (held, "holder 1"));
}

#[test]
fn a_clock_set_back_locks_nobody_out_for_longer_than_the_longest_life() {
    let lease = Lease { lease_id: "1".to_owned(), holder: "x".to_owned(), expires_ms: u64::MAX };
    let (kept, answer) = decide(Some(&lease), &wish(2, LeaseAction::Acquire, 0), 5);
    assert_eq!((answer.granted, answer.remaining_ms), (false, MAX_TTL_MS));
    assert_eq!(kept.unwrap().expires_ms, 5 + u64::from(MAX_TTL_MS));
}

proptest! {
    #[test]
    fn never_two_holders_and_the_answer_is_the_truth(
        wishes in proptest::collection::vec((0..3_u8, 0..3_u8, 0..100_000_u32, 0..40_000_u64), 1..40)
    ) {
        let (mut lease, mut now) = (None, 0);
        for (id, action, ttl_ms, later) in wishes {
            now += later;
            let action = [LeaseAction::Acquire, LeaseAction::Renew, LeaseAction::Release][usize::from(action)];
            let before = lease.clone().filter(|lease: &Lease| lease.expires_ms > now);
            let (after, answer) = decide(lease.as_ref(), &wish(id, action, ttl_ms), now);
            if let Some(before) = before.filter(|before| before.lease_id != id.to_string()) {
                prop_assert_eq!(after.as_ref(), Some(&before), "somebody else's lease was touched");
            }
            prop_assert_eq!(answer.granted, is_held_by(after.as_ref(), &id.to_string(), now));
            prop_assert_eq!(answer.holder.is_empty(), after.is_none());
            prop_assert!(answer.remaining_ms <= MAX_TTL_MS);
            lease = after;
        }
    }
}
