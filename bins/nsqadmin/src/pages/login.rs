//! The door.

use maud::html;

use super::context::PageContext;
use super::layout::{Page, Section};
use super::notice::{Notice, Tone};

/// The form that `POST /login` takes. `?error=` says why one is here again, `?next=` where one wanted to go.
pub(crate) fn page(context: &PageContext<'_>) -> Page {
    let next = context.query.first("next").unwrap_or_default();
    let error = match context.query.first("error") {
        Some("wait") => Some("Too many wrong passwords. Wait a little, then try again."),
        Some(_) => Some("Wrong user name or password."),
        None => None,
    };
    let body = html! {
        div.narrow {
            section.panel aria-labelledby="login-title" {
                form.confirm method="post" action=(context.links.fixed("/login")) data-test="login" {
                    h1 id="login-title" { "Log in" }
                    @if let Some(error) = error { (Notice::new(Tone::Bad, error).render(false)) }
                    input type="hidden" name="next" value=(next);
                    div.field {
                        label for="user" { "User" }
                        input id="user" type="text" name="user" required autocomplete="username" autocapitalize="off"
                            spellcheck="false" autofocus;
                    }
                    div.field {
                        label for="password" { "Password" }
                        input id="password" type="password" name="password" required autocomplete="current-password";
                    }
                    div.buttons { button.button.primary type="submit" { "Log in" } }
                }
            }
        }
    };
    let mut page = Page::new("Log in", Section::None, body);
    page.is_live = false;
    page.is_bare = true;
    page
}
