//! References to messages.

use model::Result;
use store_api::{Reference, ReferenceAccess, SignedReference};

use super::{address, name, uid};
use crate::error::invalid;
use crate::pb;

pub(crate) fn reference(given: Option<pb::Reference>) -> Result<Reference> {
    let given = given.ok_or_else(|| invalid("a reference is missing"))?;
    let access = match given.access() {
        pb::ReferenceAccess::Unspecified => return Err(invalid("a reference does not say who may read")),
        pb::ReferenceAccess::Anonymous => ReferenceAccess::Anonymous,
        pb::ReferenceAccess::Authuser => ReferenceAccess::AuthUser,
        pb::ReferenceAccess::User => ReferenceAccess::User(address(&given.reader)?),
        pb::ReferenceAccess::Submit => ReferenceAccess::Submit(address(&given.reader)?),
    };
    Ok(Reference {
        owner: address(&given.owner)?,
        mailbox: name(&given.mailbox)?,
        uid_validity: given.uid_validity,
        uid: uid(given.uid)?,
        expires: given.expires,
        access,
        rump: given.rump,
    })
}

pub(crate) fn reference_pb(reference: &Reference) -> pb::Reference {
    let (access, reader) = match &reference.access {
        ReferenceAccess::Anonymous => (pb::ReferenceAccess::Anonymous, None),
        ReferenceAccess::AuthUser => (pb::ReferenceAccess::Authuser, None),
        ReferenceAccess::User(reader) => (pb::ReferenceAccess::User, Some(reader)),
        ReferenceAccess::Submit(reader) => (pb::ReferenceAccess::Submit, Some(reader)),
    };
    pb::Reference {
        owner: reference.owner.to_string(),
        mailbox: reference.mailbox.as_str().to_owned(),
        uid_validity: reference.uid_validity,
        uid: reference.uid.get(),
        expires: reference.expires,
        access: access.into(),
        reader: reader.map(ToString::to_string).unwrap_or_default(),
        rump: reference.rump.clone(),
    }
}

pub(crate) fn signed_reference(given: Option<pb::SignedReference>) -> Result<SignedReference> {
    let given = given.ok_or_else(|| invalid("a reference is missing"))?;
    Ok(SignedReference { reference: reference(given.reference)?, token: given.token })
}

pub(crate) fn signed_reference_pb(signed: &SignedReference) -> pb::SignedReference {
    pb::SignedReference { reference: Some(reference_pb(&signed.reference)), token: signed.token.clone() }
}
