// What each room is for, in a few sentences. A score is never called a proof.

export const HELP = {
  analyse: [
    "vlad looks through surveillance clips for moments that do not belong. Drop clips here; each is scored from beginning to end, and what stands out is flagged for you to look at.",
    "Uploads come in pieces: one that was stopped goes on when you choose the same file again. Analysis goes on when this page is closed.",
    "Camera, time and threshold can be changed for each clip, also later. The time is read from the file's name or its metadata where they tell it.",
  ],
  review: [
    "The queue holds what was flagged. Look at a segment, then confirm it (C), or dismiss it with a reason (X). U takes back your last verdict. The key ? shows all keys.",
    "What the model says is a guess about what it seems to show. It decides nothing; you do. Where it contradicts itself the page says that it is not sure.",
    "Something was missed? Mark where it begins (I) and ends (O), and make it a segment (M). The ends of a chosen segment can be dragged on the timeline.",
    "Select several with Shift, Ctrl or the boxes to decide on them together.",
  ],
  wall: [
    "Cameras that are watched as it happens: how each is, its newest picture, and its scores of the last ten minutes against the threshold of its alarms. “Live” plays what it sends, and goes back 30 seconds.",
    "“slow” means that models do not look at all of what comes; “lost” is tried again by itself, “refused” needs somebody. An admin adds cameras here, with the hours and the zones of their alarms; passwords are kept apart and never shown.",
    "Muting raises no alarm for a while; what would have been one is counted.",
  ],
  alarms: [
    "One event of a camera is one alarm. Look, then say that somebody looks after it (A), or tell others (E). Whether it was right (C, X) moves the threshold of a calibrated camera a little; U takes that back.",
    "What the model calls it is a guess about what it seems to show, and a score is no proof. The clip of an alarm is analysed like any other a little later, and Review has the words for it.",
    "J and K, or the arrows, go through the list. Nothing goes on to the next alarm by itself.",
  ],
  day: [
    "Every camera is a lane over the hours of a day; marks are segments, their shape is their status. Click one to review it. Hatched stretches could not be decoded, and where a lane is empty nothing was recorded.",
    "Clips without a known time stand below; give them one under Analyse.",
  ],
  places: [
    "Draw zones and lines over a camera's picture, name them, and say in sentences what must not happen there. Every fault is told beside its line.",
    "What you save is a new version; those before it stay, and one can return to them. New clips are checked with the newest version; clips from before when you ask for it, by what was found in them.",
    "A rule that holds raises or lowers scores, and its name stands with the segment. What people decided is never changed by a rule.",
  ],
  covers: [
    "Where faces or people are covered, the detector is not always sure. Here are the moments that somebody has to look at: draw a box over whoever can still be seen, or say that it is fine.",
    "Nothing of a clip is shown before it is covered, also what you draw. What no look found is covered nowhere, so that a person has to watch a clip before it leaves the house.",
  ],
  search: [
    "Words find the moments that look like them, over all clips. It compares how pictures look, so it knows things and places better than deeds.",
    "“More like this” beside a segment finds moments that look like it.",
  ],
  evidence: [
    "Choose confirmed segments and export them as a case: a zip with a clip of each, a PDF report, tables, and the SHA-256 of every file.",
    "The report holds people's verdicts. A model's sentence stands in it only where somebody put it there, and is marked so.",
  ],
  prompts: [
    "The templates that the language model answers to. Edit one, look at what the model would get, try it on a segment beside the one in use, then save it as a new version.",
    "Whether a version is better, one segment cannot tell: vlad prompts compare does.",
  ],
  settings: [
    "What runs here, what each threshold would have given, how long clips are kept, who may sign in, keys for programs, and the log of who did what.",
  ],
};
