//! The door.

use maud::html;

use super::layout::{Page, Section};
use super::notice::{Notice, Tone};
use super::visit::Visit;

/// The form that `POST /login` takes. `?error=` says why one is here again, `?next=` where one wanted to go.
pub(crate) fn page(visit: &Visit<'_>) -> Page {
    let next = visit.query.first("next").unwrap_or_default();
    let error = match visit.query.first("error") {
        Some("wait") => Some("Too many wrong passwords. Wait a little, then try again."),
        Some(_) => Some("User and password do not go together."),
        None => None,
    };
    let body = html! {
        div.narrow {
            section.panel aria-labelledby="login-title" {
                form.confirm method="post" action=(visit.links.fixed("/login")) data-test="login" {
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
