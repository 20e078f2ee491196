"""The library itself: rooms by idea, behind one face. Every change goes through here, in one transaction with its row in the audit log.

    database.py   opened and brought up to date; readers and writers       audit.py     the log, one chain
    people.py     who may sign in, with what; options                      changes.py   what just changed, for pages that follow
    guesses.py    wrong passwords, slowed down
    groups.py     who sees which cameras                                   asking.py    on whose behalf it is asked, what is there for them
    clips.py      uploads, files, retention                                jobs.py      analyses that wait or are under way
    shelf.py      where files lie: here, or in a storage
    findings.py   scores, segments, what models said of them               queue.py     segments by filters, in pages
    review.py     verdicts and undo       spans.py  spans by people        remarks.py   notes, tags, marks, sentences, assignments
    listing.py    clips in pages, with what was found; days
    logbook.py    the log, to be read
    cases.py      evidence that was handed out
    places.py     zones, lines and rules of cameras                        covering.py  who is covered in what leaves, and who sees originals
    cameras.py    those that are watched, what they scored                 alarms.py    what was raised, and what people did about it
    outbox.py     where alarms are told, and messages on their way         vault.py     what opens them, by a key that lies elsewhere
    judging.py    verdicts on alarms                                       adapting.py  thresholds by them
    seeking.py    an outfit again in a camera's day

In: a URL or a folder. Out: the rooms' calls, each by its own name. Nothing is done here.
"""

from __future__ import annotations

from pathlib import Path

from .alarms import AlarmBook
from .cameras import Cameras
from .cases import Cases
from .changes import Changes
from .clips import Clips
from .covering import Covering
from .database import Database
from .findings import Findings
from .groups import Groups
from .guesses import Guesses
from .jobs import Jobs
from .listing import Listing
from .logbook import Log
from .outbox import Outbox
from .people import People
from .places import Places
from .queue import Queue
from .remarks import Remarks
from .review import Review
from .seeking import Seeking
from .spans import Spans
from .vault import Vault


class Library:
    """A database and its files. url: SQLAlchemy's, or a folder that holds library.sqlite. place, copies: see `Database`. Raises InputError where it cannot be opened."""

    def __init__(self, url: str | Path, place: str | Path | None = None, copies: Path | None = None) -> None:
        database = Database(url, place, copies)
        self.database, self.folder, self.engine, self.shelf = (
            database,
            database.folder,
            database.engine,
            database.shelf,
        )
        self.read, self.write, self.log = database.read, database.write, database.log

        people = People(database)
        self.add_user, self.local_user, self.has_users, self.users = (
            people.add_user,
            people.local_user,
            people.has_users,
            people.users,
        )
        self.names, self.close_user, self.sign_in = people.names, people.close_user, people.sign_in
        self.open_key, self.key, self.close_key = people.open_key, people.key, people.close_key
        self.options, self.set_option = people.options, people.set_option
        self.swept, self.watcher, self.set_right = people.swept, people.watcher, people.set_right

        clips = Clips(database, people)
        self.begin_upload, self.append, self.finish_upload = clips.begin_upload, clips.append, clips.finish_upload
        self.forget_uploads, self.videos, self.remove, self.retire = (
            clips.forget_uploads,
            clips.videos,
            clips.remove,
            clips.retire,
        )
        self.by_name, self.clip_named = clips.by_name, clips.clip_named
        self.sweep = clips.sweep
        self.clip, self.embeddings, self.part = clips.clip, clips.embeddings, clips.part
        self.features = clips.features

        self.uploads, self.drop_upload, self.edit, self.taken = (
            clips.uploads,
            clips.drop_upload,
            clips.edit,
            clips.taken,
        )

        listing = Listing(database)
        self.clips, self.listed, self.days, self.day = listing.clips, listing.listed, listing.days, listing.day

        jobs = Jobs(database)
        self.claim, self.beat, self.finish, self.fail = jobs.claim, jobs.beat, jobs.finish, jobs.fail
        self.cancel, self.again, self.revive = jobs.cancel, jobs.again, jobs.revive
        self.died, self.release = jobs.died, jobs.release

        findings = Findings(database)
        self.keep, self.track, self.embedder = findings.keep, findings.track, findings.embedder
        self.tracks = findings.tracks
        self.explain, self.explained, self.explanations = findings.explain, findings.explained, findings.explanations

        self.checked, self.analysis = findings.checked, findings.analysis

        places = Places(database)
        self.rules, self.rules_versions, self.save_rules = places.rules, places.rules_versions, places.save_rules
        self.clips_to_check, self.check_clips = places.clips_to_check, places.check_clips
        self.normal_clips, self.learn_paths, self.learning = places.normal_clips, places.learn_paths, places.learning
        self.put_paths, self.paths, self.drop_paths = places.put_paths, places.paths, places.drop_paths
        self.put_plan, self.plan, self.sweep_plans = places.put_plan, places.plan, places.sweep_plans

        covering = Covering(database, clips)
        self.privacy, self.set_privacy = covering.privacy, covering.set_privacy
        self.shown, self.covered_of = covering.shown, covering.covered_of
        self.sheet, self.put_sheet = covering.sheet, covering.put_sheet
        self.cover, self.keep_cover, self.cover_again = covering.cover, covering.keep_cover, covering.cover_again
        self.mark_cover, self.undo_cover, self.doubtful = (
            covering.mark_cover,
            covering.undo_cover,
            covering.doubtful,
        )

        seeking = Seeking(database)
        self.seek, self.sought = seeking.seek, seeking.sought
        self.wanted, self.found_again, self.forget_sought = seeking.wanted, seeking.found_again, seeking.forget_sought

        queue = Queue(database)
        self.page, self.segments, self.segment_ids, self.spans = (
            queue.page,
            queue.segments,
            queue.segment_ids,
            queue.spans,
        )
        self.decided, self.missed, self.verdicts = queue.decided, queue.missed, queue.verdicts
        self.spans_of, self.undecided = queue.spans_of, queue.undecided
        self.segments_of, self.facets, self.deciders = queue.segments_of, queue.facets, queue.deciders

        review = Review(database)
        self.decide, self.decide_all, self.undo = review.decide, review.decide_all, review.undo

        spans = Spans(database)
        self.mark, self.change, self.take_back, self.span_history = (
            spans.mark,
            spans.change,
            spans.take_back,
            spans.span_history,
        )

        remarks = Remarks(database, people)
        self.note, self.edit_note, self.remove_note, self.tag = (
            remarks.note,
            remarks.edit_note,
            remarks.remove_note,
            remarks.tag,
        )
        self.assign, self.call_wrong, self.uncall_wrong = remarks.assign, remarks.call_wrong, remarks.uncall_wrong
        self.adopt, self.about, self.wrongs = remarks.adopt, remarks.about, remarks.wrongs

        groups = Groups(database)
        self.cameras_of, self.groups = groups.cameras_of, groups.groups
        self.set_group, self.remove_group = groups.set_group, groups.remove_group

        guesses = Guesses(database)
        self.begin_guess, self.right_guess, self.no_guess = (
            guesses.begin_guess,
            guesses.right_guess,
            guesses.no_guess,
        )

        self.signed_in_from, self.mark_device, self.device_of = (
            people.signed_in_from,
            people.mark_device,
            people.device_of,
        )
        self.keys, self.revoke, self.change_password = people.keys, people.revoke, people.change_password

        cases = Cases(database)
        self.order, self.next_case, self.revive_cases = cases.order, cases.next_case, cases.revive_cases
        self.case_goes_on, self.case_failed = cases.case_goes_on, cases.case_failed
        self.exported, self.exports, self.case, self.export = cases.exported, cases.exports, cases.case, cases.export
        self.put_case, self.case_size = cases.put_case, cases.case_size

        vault = Vault()
        cameras = Cameras(database, vault)
        self.cameras, self.camera, self.camera_named = cameras.cameras, cameras.camera, cameras.camera_named
        self.save_camera, self.remove_camera, self.mute_camera = cameras.save_camera, cameras.remove_camera, cameras.mute_camera  # fmt: skip
        self.camera_access, self.opened, self.tell_cameras = cameras.camera_access, cameras.opened, cameras.tell_cameras
        self.keep_scores, self.recent_scores = cameras.keep_scores, cameras.recent_scores
        self.normal_scores, self.forget_scores = cameras.normal_scores, cameras.forget_scores
        self.calibrate_camera = cameras.calibrate_camera
        self.watching, self.watched_no_more = cameras.watching, cameras.watched_no_more

        alarms = AlarmBook(database)
        self.record_alarm, self.last_alarm, self.alarm_kept = alarms.record_alarm, alarms.last_alarm, alarms.alarm_kept
        self.alarms_to_keep, self.alarms_within = alarms.alarms_to_keep, alarms.alarms_within
        self.alarm, self.alarms, self.alarm_counts = alarms.alarm, alarms.alarms, alarms.alarm_counts
        self.alarm_picture, self.answer_alarm, self.judge_alarm = alarms.alarm_picture, alarms.answer_alarm, alarms.judge_alarm  # fmt: skip
        self.forget_alarms = alarms.forget_alarms

        outbox = Outbox(database, vault)
        self.targets, self.target, self.targets_with_secret = outbox.targets, outbox.target, outbox.targets_with_secret
        self.save_target, self.remove_target, self.test_target = outbox.save_target, outbox.remove_target, outbox.test_target  # fmt: skip
        self.target_access, self.messages, self.waiting = outbox.target_access, outbox.messages, outbox.waiting
        self.troubles = outbox.troubles
        self.claim_messages, self.message_sent, self.message_failed = outbox.claim_messages, outbox.message_sent, outbox.message_failed  # fmt: skip
        self.forget_messages = outbox.forget_messages
        self.subscribe, self.unsubscribe, self.push_gone = outbox.subscribe, outbox.unsubscribe, outbox.push_gone
        self.keys_folder = outbox.keys_folder

        log = Log(database)
        self.audit_rows, self.audit_page, self.audit_state = log.audit_rows, log.audit_page, log.audit_state

        changes = Changes(database)
        self.announce, self.whose = changes.announce, changes.whose
        self.last_change, self.changes, self.forget_changes = (
            changes.last_change,
            changes.changes,
            changes.forget_changes,
        )
