//! How mails look: the same words as plain text and as HTML. Nothing is loaded
//! from anywhere, and nothing tells us that a mail was read.

use std::fmt::Write as _;

use super::Message;

/// How wide plain text is, in characters; a link is as long as it is.
const WIDTH: usize = 72;

/// The text and the HTML.
pub(super) fn render(message: &Message, base_url: &str) -> (String, String) {
    (text(message, base_url), html(message, base_url))
}

fn greeting(message: &Message) -> String {
    if message.name.is_empty() { "Hello,".to_owned() } else { format!("Hello {},", message.name) }
}

fn text(message: &Message, base_url: &str) -> String {
    let mut out = String::new();
    let mut paragraph = |text: &str| {
        wrap(&mut out, text);
        out.push('\n');
    };
    paragraph(&greeting(message));
    for text in &message.paragraphs {
        paragraph(text);
    }
    if let Some((label, url)) = &message.link {
        paragraph(&format!("{label}:"));
        paragraph(url);
    }
    for text in &message.closing {
        paragraph(text);
    }
    // What mail programs know as the beginning of a signature.
    let _ = write!(out, "-- \ndevenv-cloud, {base_url}\n");
    out
}

/// Appends the words in lines that are not too long.
fn wrap(out: &mut String, text: &str) {
    let mut column = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > WIDTH {
            out.push('\n');
            column = 0;
        } else if column > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out.push('\n');
}

fn html(message: &Message, base_url: &str) -> String {
    const PARAGRAPH: &str = "margin:0 0 16px";
    let mut body = String::new();
    let mut paragraph = |text: &str| {
        let _ = writeln!(body, "<p style=\"{PARAGRAPH}\">{}</p>", escaped(text));
    };
    paragraph(&greeting(message));
    for text in &message.paragraphs {
        paragraph(text);
    }
    if let Some((label, url)) = &message.link {
        let (label, url) = (escaped(label), escaped(url));
        let _ = writeln!(
            body,
            "<p style=\"margin:24px 0\"><a href=\"{url}\" style=\"display:inline-block;padding:10px 18px;\
             border-radius:6px;background:#1f5fbf;color:#ffffff;text-decoration:none;font-weight:600\">{label}</a></p>\n\
             <p style=\"{PARAGRAPH};font-size:13px;color:#5b6470\">Or open this address:<br>\
             <a href=\"{url}\" style=\"color:#1f5fbf;word-break:break-all\">{url}</a></p>"
        );
    }
    for text in &message.closing {
        let _ = writeln!(body, "<p style=\"{PARAGRAPH};color:#5b6470\">{}</p>", escaped(text));
    }
    let (subject, base_url) = (escaped(&message.subject), escaped(base_url));
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{subject}</title>\n</head>\n\
         <body style=\"margin:0;padding:24px;background:#ffffff;color:#1c2127;\
         font:15px/1.5 system-ui,-apple-system,'Segoe UI',sans-serif\">\n\
         <div style=\"max-width:560px;margin:0 auto\">\n{body}\
         <p style=\"margin:32px 0 0;padding-top:12px;border-top:1px solid #dde1e6;font-size:13px;color:#5b6470\">\
         devenv-cloud, <a href=\"{base_url}\" style=\"color:#5b6470\">{base_url}</a></p>\n</div>\n</body>\n</html>\n"
    )
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// A name that somebody else chose, in a mail to one who does not know them. One
/// that mail programs would make a link of gives way to `instead`: our mail must
/// not carry anybody's advertisement.
pub(crate) fn name_or<'a>(name: &'a str, instead: &'a str) -> &'a str {
    let mut like_address = name.contains(['/', ':', '@', '\\']);
    for (at, _) in name.match_indices('.') {
        let after = name[at + 1..].chars().next();
        like_address |= after.is_some_and(|c| !c.is_whitespace());
    }
    if like_address { instead } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> Message {
        Message::new("eve@example.com", "<Eve> & \"Co\"", "A\nsubject <b>")
            .say("Somebody <script>alert(1)</script> did something that takes more than one line of text to tell.")
            .link("Do it", "https://ci.example.com/do?token=abc&x=1")
            .close("If it was not you, do nothing.")
    }

    #[test]
    fn html_is_escaped_and_loads_nothing() {
        let (_, html) = render(&message(), "https://ci.example.com");
        assert!(html.contains("Hello &lt;Eve&gt; &amp; &quot;Co&quot;,"), "{html}");
        assert!(html.contains("&lt;script&gt;") && !html.contains("<script"), "{html}");
        assert!(html.contains("<title>A subject &lt;b&gt;</title>"), "{html}");
        assert_eq!(html.matches("href=\"https://ci.example.com/do?token=abc&amp;x=1\"").count(), 2, "{html}");
        for loads in ["<img", "<link", "<style", "src=", "url(", "@import"] {
            assert!(!html.contains(loads), "{loads}: {html}");
        }
    }

    #[test]
    fn text_is_wrapped_but_links_are_whole() {
        let mut message = message();
        let url = format!("https://ci.example.com/do?token={}", "x".repeat(100));
        message.link = Some(("Do it".to_owned(), url.clone()));
        let (text, _) = render(&message, "https://ci.example.com");
        assert!(text.lines().any(|line| line == url), "{text}");
        assert!(text.lines().all(|line| line == url || line.chars().count() <= WIDTH), "{text}");
        assert!(text.starts_with("Hello <Eve> & \"Co\",\n\nSomebody <script>"), "{text}");
        assert!(text.ends_with("-- \ndevenv-cloud, https://ci.example.com\n"), "{text}");
    }

    #[test]
    fn names_that_would_become_links_are_not_mailed_to_strangers() {
        for good in ["Ada Lovelace", "J. Doe", "Acme Inc.", "Zoë & Co", "O'Brien"] {
            assert_eq!(name_or(good, "instead"), good);
        }
        for bad in ["win at evil.example", "https://evil.example", "evil.example/x", "a@b", "evil:1", "..x"] {
            assert_eq!(name_or(bad, "instead"), "instead", "{bad}");
        }
    }
}
