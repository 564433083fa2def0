// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// Puts sizes and roots of logs on the chain. Each sender has its own sizes, so nobody can stand in another's way.
contract Anchor {
    /// The log (SHA-256 of its origin) had this size and root when the block was made, says the sender.
    event Anchored(address indexed sender, bytes32 indexed log, uint64 size, bytes32 root);

    /// The largest size of a log that a sender has anchored.
    mapping(address => mapping(bytes32 => uint64)) public sizes;

    /// Refuses a size that does not rise.
    function anchor(bytes32 log, uint64 size, bytes32 root) external {
        require(size > sizes[msg.sender][log], "size does not rise");
        sizes[msg.sender][log] = size;
        emit Anchored(msg.sender, log, size, root);
    }
}
