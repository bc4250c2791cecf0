//! What is offered, by state. An extension is here when it works, and where it works.

use imap_wire::Capability;
use model::limits::APPEND_BYTES_MAX;

use crate::auth::Mechanism;
use crate::config::Literals;
use crate::connection::Output;
use crate::session::Session;

/// Offered in every state.
const ALWAYS: &[Capability] =
    &[Capability::Imap4Rev1, Capability::Imap4Rev2, Capability::SaslIr, Capability::Id, Capability::Enable];

/// Offered after login.
const LOGGED_IN: &[Capability] = &[
    Capability::Idle,
    Capability::Namespace,
    Capability::Acl,
    Capability::RightsTexkn,
    Capability::ListMyRights,
    Capability::AnnotateExperiment1,
    Capability::Unselect,
    Capability::Children,
    Capability::ListExtended,
    Capability::ListStatus,
    Capability::Metadata,
    Capability::ListMetadata,
    Capability::SpecialUse,
    Capability::CreateSpecialUse,
    Capability::StatusSize,
    Capability::UidPlus,
    Capability::MultiAppend,
    Capability::Move,
    Capability::CondStore,
    Capability::QResync,
    Capability::ESearch,
    Capability::MultiSearch,
    Capability::SearchRes,
    Capability::ContextSearch,
    Capability::ContextSort,
    Capability::Within,
    Capability::Sort,
    Capability::ESort,
    Capability::ThreadOrderedSubject,
    Capability::ThreadReferences,
    Capability::Binary,
    Capability::Catenate,
    Capability::UrlAuth,
    Capability::UrlAuthBinary,
    Capability::Quota,
    Capability::QuotaResStorage,
    Capability::QuotaResMessage,
    Capability::Notify,
    Capability::ObjectId,
    Capability::SaveDate,
    Capability::Preview,
    Capability::Utf8Accept,
    Capability::I18nLevel1,
    Capability::Replace,
    Capability::Partial,
    Capability::InProgress,
    Capability::Unauthenticate,
    Capability::SelectA,
    Capability::ListA,
    Capability::XCpmChanges,
];

/// `CAPABILITY` and its list, as the untagged response and the response code have it.
pub(crate) fn list(session: &Session, out: &Output) -> String {
    let mut list = String::from("CAPABILITY");
    let mut add = |capability: Capability| {
        list.push(' ');
        list.push_str(capability.name());
    };
    ALWAYS.iter().copied().for_each(&mut add);
    add(match session.server.options.literals {
        Literals::Plus => Capability::LiteralPlus,
        Literals::Minus => Capability::LiteralMinus,
    });
    if session.login.is_some() {
        LOGGED_IN.iter().copied().for_each(&mut add);
        if !out.is_deflated() {
            add(Capability::CompressDeflate);
        }
        // RFC 5259 §3.1: with BINARY, which is offered above.
        if session.server.options.conversion.is_some() {
            add(Capability::Convert);
        }
        if session.login.as_ref().is_some_and(|login| login.user.network) {
            add(Capability::XCpmDevice);
        }
        // RFC 7889 §3: one limit for all mailboxes.
        list.push_str(&format!(" {}={APPEND_BYTES_MAX}", Capability::AppendLimit.name()));
        return list;
    }
    if session.may_start_tls(out) {
        add(Capability::StartTls);
    }
    if !session.may_send_password(out) {
        add(Capability::LoginDisabled);
    }
    for mechanism in Mechanism::ALL {
        if mechanism.is_offered(session, out) {
            add(mechanism.capability());
        }
    }
    list
}
