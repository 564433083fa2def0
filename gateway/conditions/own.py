"""What the running gateway finds in itself: its store, its signing, its disk, its clock, its page."""

from gateway.conditions.model import condition

DISK_FULL = condition(
    "disk-full",
    "error",
    "No reading is stored: the disk is full ({free} are free)",
    "Free some space: it goes on by itself. Nothing that was acknowledged is lost, and brokers keep what is not",
)
STORE_FULL = condition(
    "store-full",
    "error",
    "No reading is stored: the store is full, {used} of {quota}, with readings that too few nodes hold",
    "Bring the nodes back, or add one: {needed} must store the readings before they are deleted here. Or raise "
    "max_bytes in [retention]. It goes on by itself, and brokers keep what is not stored",
)
DISK_LOW = condition(
    "disk-low",
    "warning",
    "Nothing can be pruned, and room is short: no old block is held by {needed} of {nodes} nodes ({free} are free, the "
    "store has {used} of {quota})",
    "Bring the nodes back, or add one: readings that {needed} of them store can be deleted here. Or free some space, "
    "or raise max_bytes in [retention]",
)
DISK_WORN = condition(
    "disk-worn",
    "warning",
    "The flash memory has used up to {percent} % of the writes that its maker promises",
    "Plan a new one soon: copy the keys to a safe place, and see `fieldgate recover --from NODE`",
)
DISK_SPARE = condition(
    "disk-spare",
    "error",
    "The flash memory has used {percent} % of the spare blocks that replace worn ones",
    "Take a new one now: copy the keys to a safe place, and see `fieldgate recover --from NODE`",
)
SIGNING_HELD = condition("signing-held", "error", "Signing is held: {what}", "{cure}")
SM2_MISSING = condition(
    "sm2-unsigned",
    "warning",
    "Checkpoints carry no SM2 signature: {detail}",
    "{cure}. Blocks are sealed and signed by the log's own key meanwhile; the next checkpoint with an SM2 signature "
    "covers all of them",
)
STORE_DAMAGED = condition("store-damaged", "error", "The store is damaged: {what}", "{cure}")
VERIFICATION_FAILED = condition(
    "verification-failed",
    "error",
    "The verification of {when} has found the store damaged: {what}",
    "What is sound stays readable. Stop the gateway, then `fieldgate recover --from NODE` fetches the rest from a "
    "node, and sudo systemctl start fieldgate-verify looks again",
)
VERIFICATION_LATE = condition(
    "verification-late",
    "warning",
    "The store was verified last at {when}",
    "sudo systemctl enable --now fieldgate-verify.timer. If it is enabled: journalctl -u fieldgate-verify says why it "
    "did not end",
)
CLOCK_OFF = condition(
    "clock-off",
    "error",
    "The clock is wrong: it says {now}, and it is {earliest} at the earliest",
    "Bring a network, so that the clock sets itself, or set it: sudo date --utc --set 'YYYY-MM-DD HH:MM'. Readings are "
    "stored meanwhile, and carry the wrong time",
)
COUNTS_WRONG = condition(
    "counts-wrong",
    "error",
    "Source {subject}: the counts do not add up",
    "Report this with what `fieldgate status --json` shows: it is a fault of this program",
)
CHARTS_FULL = condition(
    "charts-full",
    "note",
    "More values come than are charted: {most} in all, {of_source} of one source",
    "Every reading is stored all the same. Leave out of the configuration what nobody looks at",
)
CONFIG_REFUSED = condition(
    "configuration-refused",
    "warning",
    "The changed configuration is refused, the one before goes on: {what}",
    "Mend it (`fieldgate check` tells every fault), then `fieldgate reload`",
)
DRIVER_LATE = condition(
    "driver-does-not-end",
    "warning",
    "The driver {subject} does not end: what the configuration wants in its place waits for it",
    "Restart the gateway if this lasts, and report it",
)
RESTART_NEEDED = condition(
    "restart-needed",
    "note",
    "What the configuration has for {fields} waits for a restart",
    "Restart the gateway: `systemctl restart fieldgate`",
)
PAGE_AWAY = condition("page-away", "warning", "The page is away: {what}", "{cure}")
TOKEN_LACKING = condition(
    "watch-token-lacking",
    "warning",
    "Nobody can watch from another machine, as the token cannot be had: {what}",
    "Put one into the file that watch_token names in [web], 0600 and of the gateway's user: `head -c 24 /dev/urandom | "
    "base64` makes one. Then: sudo systemctl restart fieldgate",
)
STATUS_UNSENT = condition("status-unsent", "warning", "The status is not told: {what}", "{cure}")
UPGRADE_TAKEN_BACK = condition(
    "upgrade-taken-back",
    "warning",
    "Version {new} did not do its work and was taken back, {old} runs again: {why}",
    "Report it with a support archive (`fieldgate doctor --bundle`). The package is on hold: to try another version, "
    "sudo apt-mark unhold fieldgate, then install it. sudo rm /var/lib/fieldgate-upgrade/outcome.json takes this "
    "message away",
)
UPGRADE_BAD = condition(
    "upgrade-bad",
    "error",
    "Version {new} does not do its work, and {old} could not be put back: {why}",
    "Install a version that worked: sudo apt install --allow-downgrades ./fieldgate_VERSION_ARCH.deb, then start it. "
    "If it says that the store is newer than it knows: what it tells to run. Report this with a support archive",
)
