//! The arithmetic of atomic operations.

use bytes::Bytes;

use crate::AtomicOp;

/// The value that `op` with `operand` makes of `old`.
pub(crate) fn apply(op: AtomicOp, old: Option<&[u8]>, operand: &Bytes) -> Bytes {
    let Some(old) = old else { return operand.clone() };
    match op {
        AtomicOp::Add => add(old, operand),
        AtomicOp::Max => pick_number(old, operand, std::cmp::Ordering::Greater),
        AtomicOp::Min => pick_number(old, operand, std::cmp::Ordering::Less),
        AtomicOp::ByteMax => pick(old, operand, old > operand.as_ref()),
        AtomicOp::ByteMin => pick(old, operand, old < operand.as_ref()),
    }
}

fn pick(old: &[u8], operand: &Bytes, keep: bool) -> Bytes {
    if keep { Bytes::copy_from_slice(old) } else { operand.clone() }
}

/// The old value, cut or zero-extended to the width of the operand, byte `i` from the least significant.
fn byte_at(old: &[u8], i: usize) -> u8 {
    old.get(i).copied().unwrap_or(0)
}

fn add(old: &[u8], operand: &Bytes) -> Bytes {
    let mut carry = 0u16;
    operand
        .iter()
        .enumerate()
        .map(|(i, &byte)| {
            let sum = u16::from(byte) + u16::from(byte_at(old, i)) + carry;
            carry = sum >> 8;
            (sum & 0xFF) as u8
        })
        .collect()
}

fn pick_number(old: &[u8], operand: &Bytes, keep_if_old_is: std::cmp::Ordering) -> Bytes {
    let order = (0..operand.len())
        .rev()
        .map(|i| byte_at(old, i).cmp(&operand[i]))
        .find(|order| order.is_ne())
        .unwrap_or(std::cmp::Ordering::Equal);
    if order == keep_if_old_is {
        (0..operand.len()).map(|i| byte_at(old, i)).collect()
    } else {
        operand.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        let check = |op, old: Option<&[u8]>, operand: &'static [u8], expected: &[u8]| {
            assert_eq!(apply(op, old, &Bytes::from_static(operand)), expected, "{op:?} {old:?} {operand:?}");
        };
        check(AtomicOp::Add, None, &[5, 0], &[5, 0]);
        check(AtomicOp::Add, Some(&[0xFF, 0]), &[1, 0], &[0, 1]);
        check(AtomicOp::Add, Some(&[0xFF, 0xFF]), &[1, 0], &[0, 0]);
        check(AtomicOp::Add, Some(&[1]), &[1, 1], &[2, 1]);
        check(AtomicOp::Add, Some(&[1, 1, 1]), &[1], &[2]);
        check(AtomicOp::Add, Some(&[7]), &[], &[]);
        check(AtomicOp::Max, None, &[3], &[3]);
        check(AtomicOp::Max, Some(&[0, 1]), &[0xFF, 0], &[0, 1]);
        check(AtomicOp::Max, Some(&[9]), &[8, 0], &[9, 0]);
        check(AtomicOp::Min, None, &[3], &[3]);
        check(AtomicOp::Min, Some(&[0, 1]), &[0xFF, 0], &[0xFF, 0]);
        check(AtomicOp::Min, Some(&[2]), &[3, 0], &[2, 0]);
        check(AtomicOp::ByteMax, Some(b"b"), b"abc", b"b");
        check(AtomicOp::ByteMax, Some(b"a"), b"abc", b"abc");
        check(AtomicOp::ByteMin, Some(b"b"), b"abc", b"abc");
        check(AtomicOp::ByteMin, Some(b"a"), b"abc", b"a");
    }
}
