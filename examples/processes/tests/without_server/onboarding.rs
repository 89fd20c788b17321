use fermata_examples::onboarding::*;
use fermata_worker::TestEnvironment;

use crate::DAY;

fn user() -> SignUp {
    serde_json::from_str(r#"{"email": "ada@example.com"}"#).unwrap()
}

fn environment() -> TestEnvironment {
    TestEnvironment::new()
        .workflow(onboard_user)
        .mock(send_mail, |_| Ok(()))
        .mock(open_ticket, |_| Ok(()))
}

#[tokio::test]
async fn a_silent_user_is_reminded_every_three_days_and_handed_over() {
    let run = environment()
        .start(onboard_user, user())
        .after(DAY * 4, |user| {
            let stage: Stage = user.query(STAGE, &()).unwrap();
            assert_eq!(stage, Stage::WaitingForProfile { reminders: 1 });
        })
        .run()
        .await;
    assert_eq!(*run.result.as_ref().unwrap(), Stage::HandedOver);
    assert_eq!(run.elapsed, DAY * 9);
    assert_eq!(run.inputs::<Mail>("send_mail").len(), 3);
    assert_eq!(run.inputs::<String>("open_ticket"), ["ada@example.com"]);
}

#[tokio::test]
async fn a_profile_on_the_fifth_day_makes_the_user_active_at_once() {
    let run = environment()
        .start(onboard_user, user())
        .after(DAY * 5, |user| user.signal(PROFILE_COMPLETED, &()))
        .run()
        .await;
    assert_eq!(*run.result.as_ref().unwrap(), Stage::Active);
    assert_eq!(run.elapsed, DAY * 5);
    let mails = run.inputs::<Mail>("send_mail");
    let texts: Vec<&str> = mails.iter().map(|mail| &*mail.text).collect();
    assert_eq!(
        texts,
        [
            "Welcome! Tell us about yourself.",
            "Your profile is still empty.",
            "You are in. Here is what to try first.",
        ]
    );
}
