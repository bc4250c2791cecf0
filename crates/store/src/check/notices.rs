//! What is kept for notices to the PUSH enabler: every device made known, and every notice given up, can be read.

use kv::RangeRequest;
use model::AccountId;
use store_api::FindingKind;

use super::{Check, Subject, remedied, transaction};
use crate::failure::Failure;
use crate::keyspace::{KeyRange, Subspace};
use crate::records::{DeadLetter, DeviceRecord};
use crate::snapshot::after;

/// Devices read in one transaction.
const DEVICES_PER_PAGE: usize = 256;
/// Dead letters read in one transaction; each has up to 82 kB.
const LETTERS_PER_PAGE: usize = 16;

/// The devices of one account. One that cannot be read is told of nothing; repair forgets it.
pub(super) async fn devices(check: &mut Check, account: AccountId) -> Result<(), Failure> {
    let range = check.shared.keys.subspace(account, Subspace::Device);
    let subject = check.subject.clone();
    let text = "a device made known for notices cannot be read";
    records(check, range, DEVICES_PER_PAGE, subject, text, |raw| DeviceRecord::decode(raw).is_some()).await
}

/// All dead letters. One that cannot be read cannot be sent again; repair forgets it.
pub(super) async fn dead_letters(check: &mut Check) -> Result<(), Failure> {
    let range = check.shared.keys.dead_letters();
    let text = "a notice that was given up cannot be read";
    records(check, range, LETTERS_PER_PAGE, Subject::default(), text, |raw| DeadLetter::decode(raw).is_some())
        .await
}

async fn records(
    check: &mut Check,
    range: KeyRange,
    page: usize,
    subject: Subject,
    text: &str,
    is_readable: fn(&[u8]) -> bool,
) -> Result<(), Failure> {
    let KeyRange { mut begin, end } = range;
    loop {
        let request = RangeRequest::new(begin, end.clone()).limit(page);
        let (broken, page) = transaction!(check, trx, {
            let page = trx.get_range(&request, check.mode()).await?;
            let broken: Vec<_> =
                page.pairs.iter().filter(|pair| !is_readable(&pair.value)).cloned().collect();
            if check.repair() {
                for pair in &broken {
                    trx.clear(&pair.key);
                }
            }
            let wrote = check.repair() && !broken.is_empty();
            Ok(((broken.len(), page), wrote))
        });
        let finding = || remedied(subject.finding(FindingKind::Notices, text), check.repair());
        let findings = (0..broken).map(|_| finding()).collect();
        check.tell(findings).await?;
        check.read(page.pairs.len()).await?;
        match page.pairs.last() {
            Some(last) if page.more => begin = after(&last.key),
            _ => return Ok(()),
        }
    }
}
