//! Backups over the wire: who may, what is heard, and that nothing of one comes along.

use crate::house::{Serving, Storing, with_session};
use crate::wire::reason;
use payvault::api::proto as pb;
use payvault::vault::backup::file::Header;
use std::path::Path;
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_takes_a_backup_and_others_do_not() {
    let mut serving =
        Serving::start_with(Storing::Embedded(payvault::store::EngineKind::Sled), |_| {}).await;
    let session = serving.login("operator").await.expect("a session");
    let backup = serving.backup(&session).await.expect("a backup");
    let file = Path::new(&backup.file);
    assert_eq!(file.parent(), Some(&*serving.backup_dir()));
    let header = Header::read(file).expect("a backup's header");
    assert_eq!(header.id_text(), backup.id);
    assert_eq!(header.epoch, 1);
    assert!(
        backup
            .checkpoint
            .contains(&format!("\n{}\n", backup.ledger_size))
    );
    let keys_dir = &serving.gate.house().keys_dir;
    assert_eq!(Path::new(&backup.keys_dir), keys_dir);
    // Its owner alone can read it.
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(file)
        .expect("a file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    // Neither key nor seal is in it.
    let bytes = std::fs::read(file).expect("a file");
    for name in ["seal.json", "wrap", "keyring"] {
        let own = std::fs::read(keys_dir.join(name)).expect("a file of the keys");
        let part = &own[own.len().min(40) - 32..own.len().min(40)];
        assert!(!bytes.windows(32).any(|window| window == part), "{name}");
    }

    for who in ["auditor", "custodian"] {
        let session = serving.login(who).await.expect("a session");
        let request = with_session(pb::TakeBackupRequest {}, &session);
        let refused = serving.admin(who).take_backup(request).await;
        let refused = refused.map(|_| ()).expect_err("not an operator");
        assert_eq!(refused.code(), Code::PermissionDenied);
        assert_eq!(reason(&refused), "ROLE_NOT_ALLOWED");
    }
    let request = with_session(pb::ConfirmRestoreRequest {}, &session);
    let confirmed = serving.admin("operator").confirm_restore(request).await;
    let refused = confirmed.expect_err("nothing was restored");
    assert_eq!(reason(&refused), "NOT_PENDING");
    serving.stop().await;
}
