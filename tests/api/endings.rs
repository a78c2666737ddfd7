//! Holds, erasures and the clock, over the wire and by two operators.

use crate::house::{Serving, with_session};
use crate::road::{open, redemption, tokenize};
use crate::wire::reason;
use payvault::api::proto as pb;

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_takes_two_and_an_erasure_says_what_it_waits_for() {
    let mut serving = Serving::start().await;
    let transaction = open(&serving, 1).await;
    let token = tokenize(&serving, &transaction).await;
    let one = serving.login("operator").await.expect("a session");
    let two = serving.login("operator-2").await.expect("a session");
    let place = pb::PlaceHoldRequest {
        case_reference: "2026-HA-17".to_owned(),
        transaction: transaction.clone(),
        ..Default::default()
    };
    let mut admin = serving.admin("operator");
    let placed = admin.place_hold(with_session(place, &one)).await;
    let action = placed.expect("asked for").into_inner().pending_action;
    let approve = |action: &str| pb::ApproveActionRequest {
        action: action.to_owned(),
    };
    let alone = admin
        .approve_action(with_session(approve(&action), &one))
        .await;
    assert_eq!(reason(&alone.expect_err("refused")), "SAME_OPERATOR");
    let mut other = serving.admin("operator-2");
    let approved = other.approve_action(with_session(approve(&action), &two));
    approved.await.expect("approved");
    let holds = admin
        .list_holds(with_session(pb::ListHoldsRequest {}, &one))
        .await
        .expect("listed")
        .into_inner()
        .holds;
    let cases: Vec<_> = holds.iter().map(|hold| &hold.case_reference[..]).collect();
    assert_eq!(cases, ["2026-HA-17"]);

    let erase = pb::EraseTransactionRequest {
        transaction: transaction.clone(),
        reference: "DSR-17".to_owned(),
        ..Default::default()
    };
    let erased = admin.erase_transaction(with_session(erase.clone(), &one));
    let erased = erased.await.expect("an answer").into_inner();
    assert!(!erased.erased && erased.details_until.is_none());
    assert_eq!(erased.held_for, ["2026-HA-17"]);
    let redeemed = serving
        .vault("processor-a")
        .redeem(redemption(&transaction, &token))
        .await;
    assert_eq!(reason(&redeemed.expect_err("ended")), "CLOSED");

    let hold = holds[0].id.clone();
    let lift = pb::LiftHoldRequest { hold };
    let lifted = admin.lift_hold(with_session(lift.clone(), &one)).await;
    let action = lifted.expect("asked for").into_inner().pending_action;
    let approved = other.approve_action(with_session(approve(&action), &two));
    approved.await.expect("approved");
    let again = admin.lift_hold(with_session(lift, &one)).await;
    assert_eq!(reason(&again.expect_err("refused")), "UNKNOWN_HOLD");
    let erased = admin.erase_transaction(with_session(erase, &one));
    let erased = erased.await.expect("an answer").into_inner();
    assert!(erased.details_until.is_some() && erased.entries_until.is_some());
    assert!(!erased.rule.is_empty() && erased.held_for.is_empty());

    // No receipt of a key that is there, and no confirmation of a clock that is right.
    for (key, why) in [
        (erased.details_key.as_str(), "NOT_ERASED"),
        ("release/nl/1", "UNKNOWN_KEY"),
    ] {
        let request = pb::GetErasureReceiptRequest {
            key: key.to_owned(),
            generation: 0,
        };
        let refused = admin.get_erasure_receipt(with_session(request, &one)).await;
        assert_eq!(reason(&refused.expect_err("refused")), why);
    }
    let request = pb::ConfirmClockRequest {
        time: Some(std::time::SystemTime::now().into()),
    };
    let refused = admin.confirm_clock(with_session(request, &one)).await;
    assert_eq!(reason(&refused.expect_err("refused")), "NOT_PENDING");
    serving.stop().await;
}
