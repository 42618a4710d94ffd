--
-- Remove what setup.sql wrote on the server.
--
SELECT shell('rm -rf "$PWD"');
DROP EXTENSION instemb;
