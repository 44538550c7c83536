//! What goes wrong in storage, in upstream's words (rule: apiserver `pkg/registry/generic/registry`, `storage/errors`).

use steersman_apimachinery::{GroupResource, Reason, Status};
use steersman_storage::Error;

/// What every conflict of versions says.
pub(crate) const MODIFIED: &str =
    "the object has been modified; please apply your changes to the latest version and try again";

/// A failure that Go returns as a plain error: code 500 and nothing but the message.
pub(crate) fn plain(message: impl Into<String>) -> Status {
    Status::failure(500, Reason::Unknown, message)
}

/// An error of etcd as the user sees it.
pub(crate) fn storage(e: Error) -> Status {
    match e {
        Error::Timeout => Status::timeout("request did not complete within the allotted timeout", 0),
        Error::Unavailable(why) => Status::unavailable(format!("etcd is not available: {why}")),
        Error::TooLarge => too_large(),
        Error::Compacted => expired_list(),
        e => plain(e.to_string()),
    }
}

/// What etcd says of a value beyond its limit (rule: `storage/errors` and `apiserver/pkg/endpoints/handlers`).
pub(crate) fn too_large() -> Status {
    plain("etcdserver: request is too large")
}

/// The revision of a list is older than what etcd has.
pub(crate) fn expired_list() -> Status {
    Status::expired("The resourceVersion for the provided list is too old.")
}

/// A watch cannot be resumed from there.
pub(crate) fn too_old(revision: u64, oldest: u64) -> Status {
    Status::expired(format!("too old resource version: {revision} ({oldest})"))
}

/// A revision that is yet to come (rule: `storage.NewTooLargeResourceVersionError`).
pub(crate) fn too_new(revision: u64, current: u64) -> Status {
    Status::timeout(format!("Too large resource version: {revision}, current: {current}"), 1).with_cause(
        "ResourceVersionTooLarge",
        "Too large resource version",
        "",
    )
}

/// An object is there that was said to have another uid.
pub(crate) fn wrong_uid(gr: &GroupResource, name: &str, key: &str, wanted: &str, found: &str) -> Status {
    let why = format!("Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}");
    invalid_object(gr, name, key, &why)
}

/// The storage refuses an object as it is (rule: `storage.NewInvalidObjError`).
pub(crate) fn invalid_object(gr: &GroupResource, name: &str, key: &str, why: &str) -> Status {
    let text =
        format!("StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: {why}");
    Status::conflict(gr, name, text)
}
