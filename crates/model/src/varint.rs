//! LEB128 variable-length integers, for packed stored forms.

/// Appends `value` in 1 to 10 bytes, seven bits a byte, the low ones first.
pub fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a signed value: zigzag, then [`put`].
pub fn put_signed(out: &mut Vec<u8>, value: i64) {
    put(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// Takes a value off the front of `input`; none if it is cut short or longer than 64 bits.
pub fn take(input: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in 0..10 {
        let (&byte, rest) = input.split_first()?;
        *input = rest;
        if shift == 9 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7F) << (7 * shift);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Takes a signed value off the front of `input`.
pub fn take_signed(input: &mut &[u8]) -> Option<i64> {
    take(input).map(|v| ((v >> 1) as i64) ^ -((v & 1) as i64))
}

#[cfg(test)]
mod tests {
    #[test]
    fn round_trip() {
        for v in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            super::put(&mut out, v);
            assert_eq!(super::take(&mut &out[..]), Some(v));
            let mut out = Vec::new();
            super::put_signed(&mut out, v as i64);
            assert_eq!(super::take_signed(&mut &out[..]), Some(v as i64));
        }
        assert_eq!(super::take(&mut &[0x80u8][..]), None);
        assert_eq!(super::take(&mut &[0xFFu8; 11][..]), None);
    }
}
