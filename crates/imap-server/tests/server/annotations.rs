//! Annotations of messages: their bounds, and many of them.

use model::limits::{
    ANNOTATION_CHANGES_MAX, ANNOTATION_PATTERNS_MAX, ANNOTATION_VALUE_BYTES_MAX, ANNOTATIONS_PER_MESSAGE_MAX,
};

use crate::fixture::Fixture;

/// Entries of a vendor that have a value: `count` of them.
fn entries(count: usize, scope: &str, value: &str) -> String {
    let value =
        if value.len() > 10 { format!("{{{}+}}\r\n{value}", value.len()) } else { format!("\"{value}\"") };
    let entry = |n| format!("/vendor/acme/{n} (value.{scope} {value})");
    (0..count).map(entry).collect::<Vec<_>>().join(" ")
}

/// RFC 5257 §4.1, §4.5: values and numbers beyond what SELECT announces have codes of their own.
#[tokio::test]
async fn values_and_numbers_are_bounded() {
    let fixture = Fixture::new().await;
    let mut client = fixture.log_in().await;
    client.append("INBOX", "Subject: x\r\n\r\nbody\r\n").await;
    let said = client.ok("SELECT INBOX").await;
    let code = format!("* OK [ANNOTATIONS {ANNOTATION_VALUE_BYTES_MAX}] ");
    assert!(said.iter().any(|line| line.starts_with(&code)), "{said:?}");

    let (most, more) = ("x".repeat(ANNOTATION_VALUE_BYTES_MAX), "x".repeat(ANNOTATION_VALUE_BYTES_MAX + 1));
    let comment = |value: &str| format!("(/comment (value.priv {{{}+}}\r\n{value}))", value.len());
    client.expect(&format!("STORE 1 ANNOTATION {}", comment(&more)), "NO [ANNOTATE TOOBIG] ").await;
    // Refused before the message is asked for.
    let append = |annotations: &str| format!("APPEND INBOX ANNOTATION {annotations} {{20}}");
    client.expect(&append(&comment(&more)), "NO [ANNOTATE TOOBIG] ").await;
    client.ok(&format!("STORE 1 ANNOTATION {}", comment(&most))).await;
    let sizes = "FETCH 1 (ANNOTATION (* (size.priv size.shared)))";
    client.says(sizes, &[r#"* 1 FETCH (ANNOTATION (/comment (size.priv "6144" size.shared "0")))"#]).await;

    let all = entries(ANNOTATIONS_PER_MESSAGE_MAX, "shared", "x");
    client.ok(&format!("STORE 1 ANNOTATION ({all})")).await;
    client.expect("STORE 1 ANNOTATION (/comment (value.shared \"x\"))", "NO [ANNOTATE TOOMANY] ").await;
    client.expect(&append(&format!("({all} /comment (value.shared \"x\"))")), "NO [ANNOTATE TOOMANY] ").await;
    // What changes or takes the place of another is not one more.
    client.ok("STORE 1 ANNOTATION (/vendor/acme/0 (value.shared \"y\"))").await;
    client.ok("STORE 1 ANNOTATION (/vendor/acme/0 (value.shared NIL) /comment (value.shared \"x\"))").await;
    // Neither are they more in octets than they may be.
    let large = entries(10, "priv", &most);
    client.expect(&format!("STORE 1 ANNOTATION ({large})"), "NO [ANNOTATE TOOMANY] ").await;
    client.expect(&append(&format!("({large} {}", &comment(&most)[1..])), "NO [ANNOTATE TOOMANY] ").await;

    let changes = entries(ANNOTATION_CHANGES_MAX + 1, "priv", "");
    client.expect(&format!("STORE 1 ANNOTATION ({changes})"), "BAD ").await;
    let patterns = vec!["/comment"; ANNOTATION_PATTERNS_MAX].join(" ");
    client.ok(&format!("FETCH 1 (ANNOTATION (({patterns}) value))")).await;
    client.expect(&format!("FETCH 1 (ANNOTATION (({patterns} /x) value))"), "BAD ").await;
    let twice = format!("ANNOTATION (({patterns}) value) ANNOTATION (/x value)");
    client.expect(&format!("FETCH 1 ({twice})"), "BAD ").await;
    let long = vec![format!("/{}*", "x".repeat(250)); 9].join(" ");
    client.expect(&format!("FETCH 1 (ANNOTATION (({long}) value))"), "BAD ").await;
}

/// More than the store answers at once: each message is shown with its own annotations, beside whatever else is asked for,
/// and moves with them.
#[tokio::test]
async fn many_are_shown_a_page_at_a_time() {
    const MESSAGES: usize = 300;
    let fixture = Fixture::new().await;
    let mut client = fixture.select(MESSAGES).await;
    client.ok("CREATE There").await;
    let large = "v".repeat(ANNOTATION_VALUE_BYTES_MAX);
    // About 2 MB, and of every third message nothing.
    for n in (1..=MESSAGES).filter(|n| n % 3 != 0) {
        let own = format!("/comment (value.shared \"of {n}\")");
        client.ok(&format!("UID STORE {n} ANNOTATION ({own} {})", entries(2, "priv", &large))).await;
    }
    let comments = |said: Vec<String>| -> Vec<(usize, Option<usize>)> {
        let comment = |line: &String| {
            let n = line.split(' ').nth(1)?.parse().ok()?;
            let shared = line.split_once("/comment (value.shared \"of ").map(|(_, rest)| rest);
            Some((n, shared.and_then(|rest| rest.split('"').next()?.parse().ok())))
        };
        said.iter().filter(|line| line.contains(" FETCH (")).filter_map(comment).collect()
    };
    let expected: Vec<_> = (1..=MESSAGES).map(|n| (n, (n % 3 != 0).then_some(n))).collect();
    for items in ["ANNOTATION (* value.shared)", "ENVELOPE ANNOTATION (/% value.shared) BODY.PEEK[TEXT]"] {
        assert_eq!(comments(client.ok(&format!("FETCH 1:* ({items})")).await), expected, "{items}");
    }
    let said = client.ok("FETCH 1:* (ANNOTATION ((/comment /vendor/*) (value size.priv)))").await;
    let whole = said.iter().filter(|line| line.matches(large.as_str()).count() == 2).count();
    assert_eq!(whole, MESSAGES - MESSAGES / 3);
    assert_eq!(
        comments(client.ok("FETCH 151:* (ANNOTATION (/comment value.shared))").await),
        expected[150..]
    );

    client.ok("MOVE 1:* There").await;
    client.ok("SELECT There").await;
    assert_eq!(comments(client.ok("FETCH 1:* (ANNOTATION (/comment value.shared))").await), expected);
    let said = client
        .ok("SEARCH ANNOTATION /vendor/acme/1 value.priv \"v\" ANNOTATION /comment value \"of 29\"")
        .await;
    assert_eq!(said, ["* SEARCH 29 290 292 293 295 296 298 299"]);
}
