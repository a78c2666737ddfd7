//! Role by role and call by call, through the wire: what the one table says.

use crate::house::Serving;
use crate::wire::{call, reason};
use payvault::policy::{Role, Rpc, rule};
use std::collections::BTreeMap;
use tonic::Code;

const CAST: [(Role, &str); 5] = [
    (Role::Portal, "portal"),
    (Role::Processor, "processor-a"),
    (Role::Auditor, "auditor"),
    (Role::Operator, "operator"),
    (Role::Custodian, "custodian"),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_role_may_make_the_calls_of_its_row_and_no_other() {
    let mut serving = Serving::start().await;
    let mut sessions = BTreeMap::new();
    for who in ["auditor", "operator", "custodian"] {
        sessions.insert(who, serving.login(who).await.expect("a session"));
    }
    let mut allowed = 0;
    // Sealing ends it all, and ending a session ends what needs one.
    let order = |rpc: &Rpc| (*rpc == Rpc::Seal, *rpc == Rpc::Logout);
    let mut rpcs = Rpc::ALL.to_vec();
    rpcs.sort_by_key(order);
    for rpc in rpcs {
        let rule = rule(rpc);
        // First those who may not, so that the one who may comes last.
        let mut cast = CAST;
        cast.sort_by_key(|(role, _)| rule.roles.contains(role));
        for (role, who) in cast {
            let name = format!("{} by {}", rpc.name(), role.as_str());
            let channel = &serving.people[who].channel;
            let may = rule.roles.contains(&role);
            // Without a session first: the role is judged before it.
            let bare = call(channel, rpc.path(), Vec::new(), None).await;
            let told = bare.as_ref().err().map(reason).unwrap_or_default();
            let expected = match (may, rule.session && role.is_human()) {
                (false, _) => "ROLE_NOT_ALLOWED",
                (true, true) => "SESSION_REQUIRED",
                (true, false) => "",
            };
            if expected.is_empty() {
                assert_ne!(told, "ROLE_NOT_ALLOWED", "{name}");
                assert_ne!(told, "SESSION_REQUIRED", "{name}");
            } else {
                assert_eq!(told, expected, "{name}");
            }
            let Some(session) = sessions.get(who) else {
                allowed += usize::from(may);
                continue;
            };
            if may && rpc == Rpc::Seal {
                allowed += 1;
                continue;
            }
            let answer = call(channel, rpc.path(), Vec::new(), Some(session)).await;
            let told = answer.as_ref().err().map(reason).unwrap_or_default();
            if may {
                allowed += 1;
                // This house was never restored.
                let silent = ["", "INVALID_REQUEST", "NOT_PENDING"];
                let silent = silent.contains(&told.as_str());
                let proof = rpc == Rpc::GetReceipt && told == "NOT_TIED";
                assert!(silent || proof, "{name}: {told}");
            } else {
                let refused = answer.expect_err("not allowed");
                assert_eq!(refused.code(), Code::PermissionDenied, "{name}");
                assert_eq!(told, "ROLE_NOT_ALLOWED", "{name}");
            }
        }
    }
    let in_table: usize = Rpc::ALL.iter().map(|rpc| rule(*rpc).roles.len()).sum();
    assert_eq!(allowed, in_table);
    // Every refusal by role is entered, with who it was.
    let entries = serving.entries();
    let by_role = entries
        .iter()
        .filter(|e| e.get("reason") == "ROLE_NOT_ALLOWED");
    let pairs = Rpc::ALL.len() * CAST.len() - in_table;
    let humans = CAST.iter().filter(|(role, _)| role.is_human());
    let twice: usize = humans
        .map(|(role, _)| {
            let refused = |rpc: &&Rpc| !rule(**rpc).roles.contains(role);
            Rpc::ALL.iter().filter(refused).count()
        })
        .sum();
    assert_eq!(by_role.count(), pairs + twice);
    serving.stop().await;
}
