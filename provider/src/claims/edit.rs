//! What changes of accounts make of a claims section. Pure: the time is an argument.

use std::collections::BTreeMap;
use std::sync::Arc;

use host_state::document::{ClaimEntry, ClaimsSection};
use host_state::merge::{ClaimChange, merge_claims, next_issued_at};
use identity::{AccountClaims, AccountName, Authority, Revoked, Trust, UserName, decode_account};
use tfplug::Diagnostic;

/// One account as the claims section holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// What its JWT says.
    pub claims: AccountClaims,
    /// What the person declared that no JWT can hold; null when there is nothing.
    pub declared: serde_json::Value,
}

/// Key in [`Account::declared`]: generation of each user that was destroyed, by name.
const RETIRED_USERS: &str = "retired_users";

impl Account {
    /// Takes a user away and remembers its generation, whose credentials may still be out there.
    pub fn retire(&mut self, user: &UserName) {
        let Some(scope) = self.claims.scopes.remove(user) else { return };
        if !self.declared.is_object() {
            self.declared = serde_json::json!({});
        }
        let latest = self.retired(user).map_or(scope.generation, |before| before.max(scope.generation));
        self.declared[RETIRED_USERS][user.as_str()] = latest.into();
    }

    /// The last generation of a user of this name that was destroyed; absent when none was.
    #[must_use]
    pub fn retired(&self, user: &UserName) -> Option<u32> {
        let generation = self.declared.get(RETIRED_USERS)?.get(user.as_str())?.as_u64()?;
        u32::try_from(generation).ok()
    }

    /// Replaces what was declared of the account itself; who was retired stays.
    pub fn declare(&mut self, mut declared: serde_json::Value) {
        if let Some(retired) = self.declared.get(RETIRED_USERS) {
            declared[RETIRED_USERS] = retired.clone();
        }
        self.declared = declared;
    }
}

/// What an account is to become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// This.
    Account(Box<Account>),
    /// Deleted: no connection, everybody revoked, remembered for ever.
    Tombstone,
    /// As it is.
    Unchanged,
}

/// Works out what an account is to become from what it is; `None` when there is none or it was deleted.
/// Called again, with newer claims, when another writer was faster.
pub type Change = Arc<dyn Fn(Option<&Account>) -> Result<Wanted, Diagnostic> + Send + Sync>;

/// One change of one account.
#[derive(Clone)]
pub struct Edit {
    /// The account.
    pub account: AccountName,
    /// What becomes of it.
    pub change: Change,
}

impl Edit {
    /// A change of `account`.
    pub fn new(
        account: AccountName,
        change: impl Fn(Option<&Account>) -> Result<Wanted, Diagnostic> + Send + Sync + 'static,
    ) -> Edit {
        Edit { account, change: Arc::new(change) }
    }
}

/// What a list of edits makes of a section.
#[derive(Debug)]
pub struct Revision {
    /// The new section; absent when every edit left things as they were.
    pub section: Option<ClaimsSection>,
    /// One outcome for each edit, in their order; a refused edit does not stop the others.
    pub outcomes: Vec<Result<(), Diagnostic>>,
}

/// Applies edits one after the other; each sees what the ones before made. An account is read once and signed once,
/// however many edits it has, so that its `iat` does not run ahead of the clock.
pub fn revise(authority: &Authority, current: Option<&ClaimsSection>, edits: &[Edit], now: i64) -> Revision {
    let trust = authority.trust();
    let mut accounts: BTreeMap<&AccountName, Vec<usize>> = BTreeMap::new();
    for (number, edit) in edits.iter().enumerate() {
        accounts.entry(&edit.account).or_default().push(number);
    }
    let mut section = current.cloned();
    let mut outcomes: Vec<Result<(), Diagnostic>> = edits.iter().map(|_| Ok(())).collect();
    for (account, numbers) in accounts {
        let revised = (|| {
            let read = |section| account_in(section, &trust, account);
            let before = section.as_ref().map(read).transpose()?.flatten();
            let (mut now_is, mut has_ended) = (before.clone(), false);
            for &number in &numbers {
                match (edits[number].change)(now_is.as_ref()) {
                    Ok(Wanted::Unchanged) => {}
                    Ok(Wanted::Account(wanted)) => now_is = Some(*wanted),
                    Ok(Wanted::Tombstone) => has_ended |= now_is.take().is_some(),
                    Err(problem) => outcomes[number] = Err(problem),
                }
            }
            if let Some(account) = now_is.as_mut().filter(|_| has_ended) {
                // Ended and made anew at once: what was handed out before stays refused all the same.
                account.claims.revocations.insert(Revoked::All, now);
            }
            if now_is == before {
                Ok(None)
            } else {
                signed(authority, section.as_ref(), account, now_is, now)
            }
        })();
        match revised {
            Ok(change) => section = change.or(section),
            Err(problem) => {
                for number in numbers {
                    // What an edit was refused for says more.
                    if outcomes[number].is_ok() {
                        outcomes[number] = Err(problem.clone());
                    }
                }
            }
        }
    }
    let changed = section.as_ref() != current;
    Revision { section: section.filter(|_| changed), outcomes }
}

/// One account; `None` when there is none or it was deleted.
///
/// # Errors
/// When its JWT is none that this authority signed, or holds what this version cannot keep.
pub fn account_in(
    section: &ClaimsSection,
    trust: &Trust,
    account: &AccountName,
) -> Result<Option<Account>, Diagnostic> {
    // By its name, which who only looks knows too: a name has one key, derived from it, for ever.
    let mut entries = section.accounts.values();
    let Some(entry) = entries.find(|entry| entry.name == account.as_str() && !entry.tombstone) else {
        return Ok(None);
    };
    let unreadable = |error: &dyn std::error::Error| {
        Diagnostic::error(
            format!("The claims of account `{account}` cannot be read"),
            format!("{}. Nothing was changed.", host_state::chain(error)),
        )
    };
    let jwt = entry.jwt.parse().map_err(|error| unreadable(&error))?;
    let decoded = decode_account(&jwt, trust).map_err(|error| unreadable(&error))?;
    Ok(Some(Account { claims: decoded.claims, declared: entry.declared.clone() }))
}

/// The section with what an account has become; `None` for an account that is no more.
fn signed(
    authority: &Authority,
    section: Option<&ClaimsSection>,
    account: &AccountName,
    wanted: Option<Account>,
    now: i64,
) -> Result<Option<ClaimsSection>, Diagnostic> {
    let key = authority.account_key(account);
    let issued_at = next_issued_at(section, key.as_str(), now);
    let tombstone = wanted.is_none();
    let Account { claims, declared } = match wanted {
        Some(mut wanted) => {
            // What was handed out before the account was deleted stays refused when it is made anew.
            if let Some(entry) = section.and_then(|section| section.accounts.get(key.as_str()))
                && entry.tombstone
            {
                wanted.claims.revocations.insert(Revoked::All, entry.issued_at);
            }
            wanted
        }
        None => {
            let claims = AccountClaims::tombstone(account.clone(), key.clone(), issued_at);
            Account { claims, declared: serde_json::Value::Null }
        }
    };
    let refused = |error: &dyn std::error::Error| {
        Diagnostic::error(
            format!("The claims of account `{account}` cannot be signed"),
            format!("{}.", host_state::chain(error)),
        )
    };
    let jwt = authority.account_jwt(&claims, issued_at).map_err(|error| refused(&error))?;
    let entry =
        ClaimEntry { name: account.to_string(), jwt: jwt.to_string(), issued_at, tombstone, declared };
    let change = ClaimChange { account: key.as_str().to_owned(), entry };
    merge_claims(section, change).map(Some).map_err(|error| refused(&error))
}

#[cfg(test)]
mod tests {
    use identity::{AccountLimits, Generations, UserTemplate};

    use super::*;

    fn authority() -> Authority {
        let root = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".parse().unwrap();
        Authority::derive(&root, "acme".parse().unwrap(), Generations::default()).unwrap()
    }

    fn name(text: &str) -> AccountName {
        text.parse().unwrap()
    }

    fn create(authority: &Authority, account: &str) -> Edit {
        let claims = authority.account_claims(name(account), AccountLimits::unlimited());
        let account = Account { claims, declared: serde_json::json!({"system": "acme/global"}) };
        Edit::new(account.claims.name.clone(), move |_| Ok(Wanted::Account(Box::new(account.clone()))))
    }

    fn add_user(authority: &Authority, account: &str, user: &str) -> Edit {
        let scope =
            authority.user_scope(&name(account), &user.parse().unwrap(), 1, UserTemplate::unrestricted());
        let user: UserName = user.parse().unwrap();
        Edit::new(name(account), move |current| {
            let mut account = current.cloned().ok_or_else(|| Diagnostic::error("no such account", ""))?;
            account.claims.scopes.insert(user.clone(), scope.clone());
            Ok(Wanted::Account(Box::new(account)))
        })
    }

    fn read(authority: &Authority, section: &ClaimsSection, account: &str) -> Option<Account> {
        account_in(section, &authority.trust(), &name(account)).unwrap()
    }

    #[test]
    fn an_edit_touches_its_own_account_and_its_own_scope() {
        let authority = authority();
        let edits = [
            create(&authority, "orders"),
            add_user(&authority, "orders", "service"),
            create(&authority, "billing"),
            add_user(&authority, "orders", "reader"),
        ];
        let first = revise(&authority, None, &edits, 1000).section.unwrap();
        let before = first.accounts[authority.account_key(&name("billing")).as_str()].clone();
        let second = revise(&authority, Some(&first), &[add_user(&authority, "orders", "third")], 1000)
            .section
            .unwrap();
        assert_eq!(second.accounts[authority.account_key(&name("billing")).as_str()], before);
        let users: Vec<_> = read(&authority, &second, "orders")
            .unwrap()
            .claims
            .scopes
            .keys()
            .map(ToString::to_string)
            .collect();
        assert_eq!(users, ["reader", "service", "third"]);
    }

    #[test]
    fn many_users_of_an_account_are_one_jwt_of_this_second() {
        let authority = authority();
        let users = (0..100).map(|number| add_user(&authority, "orders", &format!("user-{number}")));
        let edits: Vec<Edit> = std::iter::once(create(&authority, "orders")).chain(users).collect();
        let section = revise(&authority, None, &edits, 1000).section.unwrap();
        assert_eq!(section.accounts.values().next().unwrap().issued_at, 1000);
        assert_eq!(read(&authority, &section, "orders").unwrap().claims.scopes.len(), 100);
    }

    #[test]
    fn issued_at_grows_even_when_the_clock_does_not() {
        let authority = authority();
        let first = revise(&authority, None, &[create(&authority, "orders")], 1000).section.unwrap();
        let second =
            revise(&authority, Some(&first), &[add_user(&authority, "orders", "a")], 900).section.unwrap();
        assert_eq!(second.accounts.values().next().unwrap().issued_at, 1001);
    }

    #[test]
    fn the_same_again_changes_nothing_and_a_deleted_account_is_remembered() {
        let authority = authority();
        let first = revise(&authority, None, &[create(&authority, "orders")], 1000).section.unwrap();
        assert!(revise(&authority, Some(&first), &[create(&authority, "orders")], 2000).section.is_none());
        let delete = Edit::new(name("orders"), |_| Ok(Wanted::Tombstone));
        let second = revise(&authority, Some(&first), std::slice::from_ref(&delete), 2000).section.unwrap();
        assert!(second.accounts.values().all(|entry| entry.tombstone));
        assert_eq!(read(&authority, &second, "orders"), None);
        assert!(revise(&authority, Some(&second), &[delete], 3000).section.is_none());
    }

    #[test]
    fn what_was_handed_out_before_a_deletion_stays_refused() {
        let authority = authority();
        let edits = [create(&authority, "orders"), add_user(&authority, "orders", "service")];
        let first = revise(&authority, None, &edits, 1000).section.unwrap();
        let service: UserName = "service".parse().unwrap();
        let retire = {
            let service = service.clone();
            Edit::new(name("orders"), move |current| {
                let mut account = current.cloned().unwrap();
                account.retire(&service);
                Ok(Wanted::Account(Box::new(account)))
            })
        };
        let second = revise(&authority, Some(&first), &[retire], 2000).section.unwrap();
        let account = read(&authority, &second, "orders").unwrap();
        assert_eq!((account.retired(&service), account.claims.scopes.len()), (Some(1), 0));
        let mut declared_again = account.clone();
        declared_again.declare(serde_json::json!({"system": "acme/other"}));
        assert_eq!(declared_again.retired(&service), Some(1));

        let delete = Edit::new(name("orders"), |_| Ok(Wanted::Tombstone));
        let third = revise(&authority, Some(&second), &[delete], 3000).section.unwrap();
        let fourth = revise(&authority, Some(&third), &[create(&authority, "orders")], 4000).section.unwrap();
        let revocations = read(&authority, &fourth, "orders").unwrap().claims.revocations;
        assert_eq!(revocations.get(&Revoked::All), Some(&3000));

        let delete = Edit::new(name("orders"), |_| Ok(Wanted::Tombstone));
        let at_once = [delete, create(&authority, "orders")];
        let fifth = revise(&authority, Some(&fourth), &at_once, 5000).section.unwrap();
        let revocations = read(&authority, &fifth, "orders").unwrap().claims.revocations;
        assert_eq!(revocations.get(&Revoked::All), Some(&5000));
    }

    #[test]
    fn a_refused_edit_does_not_stop_the_others() {
        let authority = authority();
        let edits = [add_user(&authority, "nowhere", "a"), create(&authority, "orders")];
        let Revision { section, outcomes } = revise(&authority, None, &edits, 1000);
        assert!(outcomes[0].is_err() && outcomes[1].is_ok());
        assert_eq!(section.unwrap().accounts.len(), 1);
    }
}
