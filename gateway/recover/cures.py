"""What a person is told to do, in words that several messages share."""

NEW_EPOCH = "`fieldgate recover --new-epoch` begins a new log with a new key; everything here is kept"
FROM_NODE = "`fieldgate recover --from NODE` fetches it from a node"
DROP = "`fieldgate recover --drop-damaged` keeps everything that is sound, and records how much was lost"
ROTATE = "`fieldgate key rotate` again puts the next log into its place; without the new key, " + NEW_EPOCH
